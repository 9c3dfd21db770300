//! `#[derive(Actor)]`: the reference type and `impl Actor`.

use crate::errors::Errors;
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::{Data, DeriveInput, LitInt, LitStr};

pub(crate) fn expand(input: DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    if let Data::Union(data) = &input.data {
        errors.at(data.union_token, "an actor is a struct or an enum, not a union");
    }
    if !input.generics.params.is_empty() {
        errors.at(
            &input.generics,
            "an actor has no generics: its messages have one type; make a type for each",
        );
    }
    let options = options(&input, &mut errors);
    if !errors.is_empty() {
        return errors.into_tokens();
    }
    let DeriveInput { vis, ident, .. } = input;
    let reference = format_ident!("{ident}Ref");
    let name = ident.unraw().to_string();
    let doc = format!(
        "A reference to a running [`{ident}`]: its messages as methods, and by deref \
         [`ActorRef`](::procession::ActorRef)."
    );
    quote! {
        #[doc = #doc]
        #vis struct #reference(::procession::ActorRef<#ident>);

        #[automatically_derived]
        impl ::procession::Actor for #ident {
            type Ref = #reference;
            const NAME: &'static str = #name;
            const MAILBOX: ::procession::MailboxOptions =
                ::procession::MailboxOptions::DEFAULT #options;
        }

        #[automatically_derived]
        impl ::core::convert::From<::procession::ActorRef<#ident>> for #reference {
            fn from(actor: ::procession::ActorRef<#ident>) -> Self {
                Self(actor)
            }
        }

        #[automatically_derived]
        impl ::core::convert::From<#reference> for ::procession::ActorRef<#ident> {
            fn from(actor: #reference) -> Self {
                actor.0
            }
        }

        #[automatically_derived]
        impl ::core::ops::Deref for #reference {
            type Target = ::procession::ActorRef<#ident>;
            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        #[automatically_derived]
        impl ::core::clone::Clone for #reference {
            fn clone(&self) -> Self {
                Self(::core::clone::Clone::clone(&self.0))
            }
        }

        #[automatically_derived]
        impl ::core::fmt::Debug for #reference {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Debug::fmt(&self.0, f)
            }
        }

        #[automatically_derived]
        impl ::procession::__private::serde::Serialize for #reference {
            fn serialize<S: ::procession::__private::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::core::result::Result<S::Ok, S::Error> {
                ::procession::__private::serde::Serialize::serialize(&self.0, serializer)
            }
        }

        #[automatically_derived]
        impl<'de> ::procession::__private::serde::Deserialize<'de> for #reference {
            fn deserialize<D: ::procession::__private::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::core::result::Result<Self, D::Error> {
                ::procession::__private::serde::Deserialize::deserialize(deserializer).map(Self)
            }
        }
    }
}

/// What `#[actor(..)]` changes in the `MailboxOptions`.
fn options(input: &DeriveInput, errors: &mut Errors) -> TokenStream {
    let mut capacity = None;
    let mut overflow = None;
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("actor")) {
        let parsed = attribute.parse_nested_meta(|meta| {
            let slot = if meta.path.is_ident("mailbox") {
                &mut capacity
            } else if meta.path.is_ident("overflow") {
                &mut overflow
            } else {
                return Err(meta.error("unknown key: `mailbox` and `overflow` are known"));
            };
            if slot.is_some() {
                return Err(meta.error("this key is given twice"));
            }
            *slot = Some(if meta.path.is_ident("mailbox") {
                mailbox(&meta.value()?.parse()?)?
            } else {
                policy(&meta.value()?.parse()?)?
            });
            Ok(())
        });
        if let Err(error) = parsed {
            errors.add(error);
        }
    }
    quote!(#capacity #overflow)
}

fn mailbox(places: &LitInt) -> syn::Result<TokenStream> {
    match places.base10_parse::<u32>()? {
        0 => Err(syn::Error::new_spanned(places, "a mailbox has at least one place")),
        places => {
            let places = places as usize;
            Ok(quote!(.capacity(#places)))
        }
    }
}

fn policy(name: &LitStr) -> syn::Result<TokenStream> {
    match name.value().as_str() {
        // The default, with its deadline.
        "block" => Ok(quote!()),
        "fail" => Ok(quote!(.overflow(::procession::Overflow::Fail))),
        "drop_new" => Ok(quote!(.overflow(::procession::Overflow::DropNew))),
        _ => Err(syn::Error::new_spanned(name, "one of \"block\", \"fail\", \"drop_new\"")),
    }
}
