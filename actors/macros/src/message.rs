//! `#[derive(Message)]`, and the same impls for the enum that `#[methods]` makes.

use crate::errors::Errors;
use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use std::collections::HashSet;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Fields, GenericArgument, Ident, Member, PathArguments, Type};

/// An enum of messages.
pub(crate) struct Messages {
    pub(crate) ident: Ident,
    pub(crate) variants: Vec<Variant>,
}

/// One message.
pub(crate) struct Variant {
    pub(crate) ident: Ident,
    /// What it is called by who knows no types.
    pub(crate) method: String,
    /// What it carries, but for the reply.
    pub(crate) fields: Vec<(Member, Type)>,
    /// What those are called.
    pub(crate) arguments: Vec<String>,
    /// Where the reply is, and the type of its value.
    pub(crate) reply: Option<(Member, Type)>,
}

pub(crate) fn derive(input: DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    if !input.generics.params.is_empty() {
        errors.at(&input.generics, "a message has no generics: its actor handles one type");
    }
    let mut variants = Vec::new();
    match input.data {
        Data::Enum(data) => {
            for variant in data.variants {
                variants.push(read(variant.ident, &variant.fields, &mut errors));
            }
        }
        Data::Struct(data) => errors.at(
            data.struct_token,
            "a message is an enum: make it one, with a variant for each message",
        ),
        Data::Union(data) => errors.at(data.union_token, "a message is an enum, not a union"),
    }
    if errors.is_empty() {
        Messages { ident: input.ident, variants }.impls()
    } else {
        errors.into_tokens()
    }
}

fn read(ident: Ident, fields: &Fields, errors: &mut Errors) -> Variant {
    let method = method_name(&ident);
    let mut variant =
        Variant { ident, method, fields: Vec::new(), arguments: Vec::new(), reply: None };
    for (field, member) in fields.iter().zip(fields.members()) {
        match reply_type(&field.ty) {
            None => {
                variant.arguments.push(match &member {
                    Member::Named(name) => name.unraw().to_string(),
                    Member::Unnamed(index) => index.index.to_string(),
                });
                variant.fields.push((member, field.ty.clone()));
            }
            Some(_) if variant.reply.is_some() => {
                errors.at(&field.ty, "a message has at most one `Reply`");
            }
            Some(value) => variant.reply = Some((member, value)),
        }
    }
    variant
}

/// `FetchAll` gives `fetch_all`.
fn method_name(variant: &Ident) -> String {
    let mut name = String::new();
    for letter in variant.unraw().to_string().chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

/// The `T` of `Reply<T>`.
fn reply_type(ty: &Type) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first() {
        Some(GenericArgument::Type(value)) if last.ident == "Reply" => Some(value.clone()),
        _ => None,
    }
}

impl Messages {
    /// `impl Message`, and `impl Wire` for when all its types have serde.
    pub(crate) fn impls(&self) -> TokenStream {
        let Self { ident, variants } = self;
        let bounds = self.bounds();
        let methods = variants.iter().map(|Variant { method, arguments, .. }| {
            quote!(__private::MethodNames { name: #method, arguments: &[#(#arguments),*] })
        });
        let assertions = self.assertions();
        let names = self.matched(|Variant { ident: variant, .. }| {
            let name = variant.unraw().to_string();
            quote!(#ident::#variant { .. } => #name,)
        });
        let expects = self.matched(|variant| {
            variant.on_reply(ident, &quote!(::procession::Reply::is_some(reply)), &quote!(false))
        });
        let takes = self.matched(|variant| {
            let none = quote!(::core::option::Option::None);
            variant.on_reply(ident, &quote!(__private::take_reply(reply)), &none)
        });
        let mut indices = 0u32..;
        let encodes = self.matched(|Variant { ident: variant, fields, .. }| {
            let index = indices.next();
            let members = fields.iter().map(|(member, _)| member);
            let values: Vec<_> = (0..fields.len()).map(|i| format_ident!("field_{i}")).collect();
            quote! {
                #ident::#variant { #(#members: #values,)* .. } => {
                    encoder.value(&#index)?;
                    #(encoder.value(#values)?;)*
                    ::core::result::Result::Ok(())
                }
            }
        });
        let decodes = variants.iter().zip(0u32..).map(|(variant, index)| {
            let Variant { ident: variant, fields, reply, .. } = variant;
            let fields = fields.iter().map(|(member, ty)| quote!(#member: decoder.value::<#ty>()?));
            // The last, so that a decode that fails leaves the port where it is.
            let reply = reply
                .iter()
                .map(|(member, _)| quote!(#member: ::procession::Reply::from_port(reply.take())));
            let fields = fields.chain(reply);
            quote!(#index => ::core::result::Result::Ok(#ident::#variant { #(#fields,)* }),)
        });
        let fingerprint = self.fingerprint();
        quote! {
            const _: () = {
                use ::procession::__private;

                #assertions

                #[automatically_derived]
                impl ::procession::Message for #ident {
                    fn variant_name(&self) -> &'static str {
                        #names
                    }

                    fn expects_reply(&self) -> bool {
                        #expects
                    }

                    fn wire() -> ::core::option::Option<__private::WireFns<Self>> {
                        use __private::{IfNot as _, IfWire as _};
                        (&__private::Probe::<#ident>::new()).wire_fns()
                    }
                }

                #[automatically_derived]
                #[allow(unused_variables, reason = "a variant may have no fields")]
                impl __private::Wire for #ident
                where
                    #(#bounds,)*
                {
                    const FINGERPRINT: u64 = #fingerprint;

                    const METHODS: &'static [__private::MethodNames] = &[#(#methods),*];

                    fn encode(
                        &self,
                        encoder: &mut __private::Encoder,
                    ) -> ::core::result::Result<(), __private::EncodeError> {
                        #encodes
                    }

                    fn take_reply(&mut self) -> ::core::option::Option<__private::ReplyPort> {
                        #takes
                    }

                    fn decode(
                        decoder: &mut __private::Decoder<'_>,
                        reply: &mut ::core::option::Option<__private::ReplyPort>,
                    ) -> ::core::result::Result<Self, __private::DecodeError> {
                        match decoder.value::<u32>()? {
                            #(#decodes)*
                            index => ::core::result::Result::Err(
                                __private::unknown_variant::<Self>(index),
                            ),
                        }
                    }
                }
            };
        }
    }

    /// A hash (FNV-1a, 64 bits) of the variants and the types that they carry, as written.
    fn fingerprint(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for Variant { ident, fields, reply, .. } in &self.variants {
            let types = fields.iter().chain(reply).map(|(_, ty)| ty.to_token_stream());
            let mut text = format!("{ident}(");
            for ty in types {
                text.push_str(&ty.to_string());
                text.push(',');
            }
            text.push_str(if reply.is_some() { ")->;" } else { ");" });
            for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        hash
    }

    /// A match on the message, with an arm for each variant.
    fn matched(&self, arm: impl FnMut(&Variant) -> TokenStream) -> TokenStream {
        if self.variants.is_empty() {
            return quote!(match *self {});
        }
        let arms = self.variants.iter().map(arm);
        quote!(match self { #(#arms)* })
    }

    /// One bound for each type that travels. The lifetime keeps the compiler from
    /// refusing a bound that does not hold; see `WireArg`.
    fn bounds(&self) -> Vec<TokenStream> {
        let bound = |ty| quote!(for<'__wire> #ty: __private::WireArg<'__wire>);
        self.types().map(bound).collect()
    }

    /// Has the compiler point at a type that cannot be sent, rather than at the macro.
    fn assertions(&self) -> TokenStream {
        let types =
            self.types().map(|ty| quote_spanned!(ty.span() => __private::sendable::<#ty>();));
        quote! {
            #[allow(dead_code)]
            fn sendable() {
                #(#types)*
            }
        }
    }

    /// All types of its fields and replies, each once.
    fn types(&self) -> impl Iterator<Item = &Type> {
        let mut seen = HashSet::new();
        self.variants
            .iter()
            .flat_map(|variant| variant.fields.iter().chain(&variant.reply).map(|(_, ty)| ty))
            .filter(move |ty| seen.insert(ty.to_token_stream().to_string()))
    }
}

impl Variant {
    /// A match arm: `some` where the variant has a `reply`, else `none`.
    fn on_reply(&self, of: &Ident, some: &TokenStream, none: &TokenStream) -> TokenStream {
        let Self { ident, reply, .. } = self;
        if let Some((member, _)) = reply {
            quote!(#of::#ident { #member: reply, .. } => #some,)
        } else {
            quote!(#of::#ident { .. } => #none,)
        }
    }
}
