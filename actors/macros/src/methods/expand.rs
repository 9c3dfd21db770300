//! What `#[methods]` generates: the message, `impl Handler`, and the reference's methods.

use super::{Hook, Method, Protocol};
use crate::message::Messages;
use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;

pub(super) fn expand(protocol: &Protocol) -> TokenStream {
    let messages = protocol.messages();
    let declaration = declaration(protocol, &messages);
    let impls = messages.impls();
    let handler = handler(protocol, &messages.ident);
    let callers = callers(protocol, &messages.ident);
    let casters = casters(protocol, &messages.ident);
    quote!(#declaration #impls #handler #callers #casters)
}

fn declaration(protocol: &Protocol, messages: &Messages) -> TokenStream {
    let ident = &messages.ident;
    let doc = format!("What a `{}` is sent: one message for each of its methods.", protocol.name);
    let variants = protocol.methods.iter().map(|method| {
        let Method { docs, variant, output, .. } = method;
        let types = method.arguments.iter().map(|(_, ty)| ty);
        let summary = format!("`{}`: its arguments, and where the answer goes.", method.ident);
        quote! {
            #[doc = #summary]
            #[doc = ""]
            #(#docs)*
            #variant(#(#types,)* ::procession::Reply<#output>)
        }
    });
    quote! {
        #[doc = #doc]
        #[allow(dead_code, private_interfaces, unreachable_pub)]
        pub enum #ident {
            #(#variants,)*
        }

        #[automatically_derived]
        impl ::core::fmt::Debug for #ident {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str(::procession::Message::variant_name(self))
            }
        }
    }
}

fn handler(protocol: &Protocol, message: &Ident) -> TokenStream {
    let this = &protocol.this;
    let reply = Ident::new("reply", Span::mixed_site());
    let arms = protocol.methods.iter().map(|method| {
        let Method { ident, variant, .. } = method;
        let values: Vec<_> =
            (0..method.arguments.len()).map(|i| format_ident!("argument_{i}")).collect();
        let call = awaited(method.is_async, quote!(#this::#ident(self, #(#values),*)));
        quote! {
            #message::#variant(#(#values,)* #reply) => {
                let answer = #call;
                ::procession::Reply::send(#reply, answer);
            }
        }
    });
    // A hook of the wrong type is an error at the hook.
    let hook = |hook, arguments: &[&str]| {
        protocol.hooks.get(&hook).map(|function| {
            let ident = &function.ident;
            // The place is the hook's; names resolve here, whoever wrote the hook's.
            let span = Span::call_site().located_at(ident.span());
            let arguments = arguments.iter().map(|name| Ident::new(name, span));
            let call = quote_spanned!(span=> #this::#ident(self, #(#arguments)*));
            (span, awaited(function.is_async, call))
        })
    };
    let on_start = hook(Hook::Start, &[]).map(|(span, call)| {
        let started = quote_spanned!(span=> ::procession::__private::Started::started(#call));
        quote! {
            fn on_start(&mut self) -> ::core::result::Result<(), ::procession::SpawnError> {
                #started
            }
        }
    });
    let on_stop = hook(Hook::Stop, &["why"]).map(|(span, call)| {
        let why = Ident::new("why", span);
        quote! {
            fn on_stop(&mut self, #why: &::procession::ExitReason) {
                #call
            }
        }
    });
    let on_down = hook(Hook::Down, &["down"]).map(|(span, call)| {
        let down = Ident::new("down", span);
        quote! {
            fn on_down(&mut self, #down: &::procession::Down) {
                #call
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl ::procession::Handler for #this {
            type Msg = #message;

            #[allow(clippy::let_unit_value)]
            fn handle(&mut self, message: #message) {
                match message {
                    #(#arms)*
                }
            }

            #on_start
            #on_stop
            #on_down
        }
    }
}

fn awaited(is_async: bool, call: TokenStream) -> TokenStream {
    if is_async { quote!(::procession::__private::block_on_actor(#call)) } else { call }
}

/// The methods of the reference that wait for the answer.
fn callers(protocol: &Protocol, message: &Ident) -> TokenStream {
    let this = &protocol.this;
    let reference = protocol.reference();
    let cast = format_ident!("{}Cast", protocol.name.unraw());
    let methods = protocol.methods.iter().map(|method| {
        let Method { ident, docs, variant, output, .. } = method;
        let name = ident.unraw();
        let with_timeout = Ident::new(&format!("{name}_timeout"), ident.span());
        let asynchronous = Ident::new(&format!("{name}_async"), ident.span());
        let timeout = Ident::new("timeout", Span::mixed_site());
        let parameters: Vec<_> = method.parameters().collect();
        let names = method.names();
        let reply = Ident::new("reply", Span::mixed_site());
        let make = quote!(move |#reply| #message::#variant(#(#names,)* #reply));
        let timeout_doc =
            format!("As [`{name}`](Self::{name}), waiting for the answer at most for `timeout`.");
        let async_doc = format!(
            "As [`{name}`](Self::{name}), without blocking the thread.\n\n# Cancel safety\n\
             Dropping the future forgets the answer; the call may still be carried out."
        );
        quote! {
            #(#docs)*
            pub fn #ident(
                &self,
                #(#parameters),*
            ) -> ::core::result::Result<#output, ::procession::CallError> {
                ::procession::ActorRef::<#this>::call(self, #make)
            }

            #[doc = #timeout_doc]
            pub fn #with_timeout(
                &self,
                #(#parameters,)*
                #timeout: ::core::time::Duration,
            ) -> ::core::result::Result<#output, ::procession::CallError> {
                ::procession::ActorRef::<#this>::call_timeout(self, #make, #timeout)
            }

            #[doc = #async_doc]
            pub fn #asynchronous(
                &self,
                #(#parameters),*
            ) -> impl ::core::future::Future<
                Output = ::core::result::Result<#output, ::procession::CallError>,
            > + ::core::marker::Send + use<> {
                ::procession::ActorRef::<#this>::call_async(self, #make)
            }
        }
    });
    quote! {
        #[allow(
            dead_code,
            missing_docs,
            private_interfaces,
            unreachable_pub,
            clippy::missing_errors_doc,
            clippy::too_many_arguments
        )]
        impl #reference {
            #(#methods)*

            /// The same methods, sent without waiting for an answer.
            pub fn cast(&self) -> #cast<'_> {
                #cast(self, ::core::option::Option::None)
            }

            /// As [`cast`](Self::cast), waiting for room in the mailbox at most for `timeout`.
            pub fn cast_timeout(&self, timeout: ::core::time::Duration) -> #cast<'_> {
                #cast(self, ::core::option::Option::Some(timeout))
            }
        }
    }
}

/// The methods that do not wait.
fn casters(protocol: &Protocol, message: &Ident) -> TokenStream {
    let this = &protocol.this;
    let cast = format_ident!("{}Cast", protocol.name.unraw());
    let doc = format!("Sends a `{}` messages without waiting for answers.", protocol.name);
    let methods = protocol.methods.iter().map(|method| {
        let Method { ident, docs, variant, .. } = method;
        let parameters = method.parameters();
        let names = method.names();
        let sent = Ident::new("message", Span::mixed_site());
        quote! {
            #(#docs)*
            pub fn #ident(
                &self,
                #(#parameters),*
            ) -> ::core::result::Result<(), ::procession::CallError> {
                let #sent = #message::#variant(#(#names,)* ::procession::Reply::none());
                match self.1 {
                    ::core::option::Option::None => {
                        ::procession::ActorRef::<#this>::send(self.0, #sent)
                    }
                    ::core::option::Option::Some(timeout) => {
                        ::procession::ActorRef::<#this>::send_timeout(self.0, #sent, timeout)
                    }
                }
                .map_err(::procession::CallError::from)
            }
        }
    });
    quote! {
        #[doc = #doc]
        #[derive(Clone, Copy, Debug)]
        #[allow(dead_code, private_interfaces, unreachable_pub)]
        pub struct #cast<'a>(
            &'a ::procession::ActorRef<#this>,
            ::core::option::Option<::core::time::Duration>,
        );

        #[allow(
            dead_code,
            missing_docs,
            private_interfaces,
            unreachable_pub,
            clippy::missing_errors_doc,
            clippy::too_many_arguments
        )]
        impl #cast<'_> {
            #(#methods)*
        }
    }
}
