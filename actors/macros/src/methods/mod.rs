//! `#[methods]`: reading an `impl` block, and checking that its methods can be messages.
//!
//! `expand` below generates from what is read here. A method with a mistake is reported
//! and left out, so that the rest still compiles and no error follows from an error.

mod expand;

use crate::errors::Errors;
use crate::message::{Messages, Variant};
use crate::types::{Place, owned, renamed, sibling};
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use std::collections::{HashMap, HashSet};
use syn::ext::IdentExt;
use syn::{
    Attribute, FnArg, Ident, ImplItem, ImplItemFn, ItemImpl, Member, Meta, Pat, Path,
    PathArguments, ReceiverKind, ReturnType, Safety, Type, Visibility, parse_quote,
};

/// What an `impl` block says about its actor.
struct Protocol {
    /// The actor's type, as written.
    this: Path,
    name: Ident,
    methods: Vec<Method>,
    hooks: HashMap<Hook, HookFn>,
}

/// A method that is a message.
struct Method {
    ident: Ident,
    docs: Vec<Attribute>,
    is_async: bool,
    arguments: Vec<(Ident, Type)>,
    output: Type,
    variant: Ident,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Hook {
    Start,
    Stop,
    Down,
}

struct HookFn {
    ident: Ident,
    is_async: bool,
}

pub(crate) fn expand(arguments: &TokenStream, mut block: ItemImpl) -> TokenStream {
    let mut errors = Errors::default();
    if !arguments.is_empty() {
        errors.at(arguments, "`#[methods]` takes no arguments");
    }
    let Some((this, name)) = actor_of(&block, &mut errors) else {
        let errors = errors.into_tokens();
        return quote!(#block #errors);
    };
    let mut protocol = Protocol { this, name, methods: Vec::new(), hooks: HashMap::new() };
    for item in &mut block.items {
        if let ImplItem::Fn(function) = item {
            read(function, &mut protocol, &mut errors);
        }
    }
    protocol.methods = distinct(protocol.methods, &mut errors);
    let generated = expand::expand(&protocol);
    let errors = errors.into_tokens();
    quote!(#block #generated #errors)
}

/// The type of the block; `None` when nothing can be generated for it.
fn actor_of(block: &ItemImpl, errors: &mut Errors) -> Option<(Path, Ident)> {
    if let Some((path, _)) = &block.trait_ {
        errors.at(path, "`#[methods]` stands on the actor's own `impl`, not on a trait's");
        return None;
    }
    if let Some(token) = &block.unsafety {
        errors.at(token, "an actor's methods are safe");
    }
    if !block.generics.params.is_empty() {
        errors.at(&block.generics, "an actor has no generics: make a type for each");
        return None;
    }
    let path = match block.self_ty.as_ref() {
        Type::Path(ty) if ty.qself.is_none() => &ty.path,
        other => {
            errors.at(other, "an actor is a type of its own: name a struct or an enum");
            return None;
        }
    };
    let last = path.segments.last()?;
    if !matches!(last.arguments, PathArguments::None) {
        errors.at(&last.arguments, "an actor has no generics: make a type for each");
        return None;
    }
    Some((path.clone(), last.ident.clone()))
}

fn read(function: &mut ImplItemFn, protocol: &mut Protocol, errors: &mut Errors) {
    let mut found = Errors::default();
    let hooks = take_hooks(&mut function.attrs, &mut found);
    if let [(hook, attribute), more @ ..] = hooks.as_slice() {
        for (_, attribute) in more {
            found.at(attribute, "a function is one hook");
        }
        check_callable(function, &mut found);
        check_hook(*hook, function, &mut found);
        let is_async = function.sig.asyncness.is_some();
        let ident = function.sig.ident.clone();
        if protocol.hooks.insert(*hook, HookFn { ident, is_async }).is_some() {
            found.at(attribute, "an actor has this hook once");
        }
        if !found.is_empty() {
            protocol.hooks.remove(hook);
        }
    } else if matches!(function.vis, Visibility::Public(_)) && function.sig.receiver().is_some() {
        check_callable(function, &mut found);
        if let Some(method) = method(function, &protocol.this, &mut found)
            && found.is_empty()
        {
            // `pub` is the mark of a message, and its form is what a message demands.
            function.attrs.push(parse_quote!(#[allow(
                unreachable_pub,
                clippy::needless_pass_by_value,
                clippy::unused_async,
                clippy::unused_self
            )]));
            protocol.methods.push(method);
        }
    }
    errors.extend(found);
}

/// Takes the attributes that name a hook off the function.
fn take_hooks(attributes: &mut Vec<Attribute>, errors: &mut Errors) -> Vec<(Hook, Attribute)> {
    let mut hooks = Vec::new();
    attributes.retain(|attribute| {
        let path = attribute.path();
        let hook = if path.is_ident("on_start") {
            Hook::Start
        } else if path.is_ident("on_stop") {
            Hook::Stop
        } else if path.is_ident("on_down") {
            Hook::Down
        } else {
            return true;
        };
        if !matches!(attribute.meta, Meta::Path(_)) {
            errors.at(attribute, "a hook's attribute has no arguments");
        }
        hooks.push((hook, attribute.clone()));
        false
    });
    hooks
}

/// What messages and hooks have in common.
fn check_callable(function: &ImplItemFn, errors: &mut Errors) {
    let signature = &function.sig;
    if let Safety::Unsafe(token) = &signature.safety {
        errors.at(token, "an actor calls this for anyone who sends: it cannot be unsafe");
    }
    if let Some(abi) = &signature.abi {
        errors.at(abi, "an actor calls this by Rust's own convention");
    }
    if !signature.generics.params.is_empty() {
        errors.at(&signature.generics, "a message has one type: no generics, no lifetimes");
    }
    if let Some(clause) = &signature.generics.where_clause {
        errors.at(clause, "a message has one type: no `where` clause");
    }
    for attribute in &function.attrs {
        if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
            errors.at(attribute, "a protocol has all its messages: put the condition inside");
        }
    }
    match signature.receiver() {
        None => errors.at(&signature.ident, "a hook takes `&mut self` or `&self`"),
        Some(receiver) => match &receiver.kind {
            ReceiverKind::Reference(_, None, _) => {}
            ReceiverKind::Reference(_, Some(lifetime), _) => {
                errors.at(lifetime, "a message borrows nothing: take `&mut self` or `&self`");
            }
            _ => errors
                .at(receiver, "the actor lives on after a message: take `&mut self` or `&self`"),
        },
    }
}

fn check_hook(hook: Hook, function: &ImplItemFn, errors: &mut Errors) {
    let signature = &function.sig;
    let arguments: Vec<_> =
        signature.inputs.iter().filter(|input| matches!(input, FnArg::Typed(_))).collect();
    let text = match hook {
        Hook::Start if arguments.is_empty() => return,
        Hook::Start => "`on_start` takes `&mut self` and nothing else",
        Hook::Stop => "`on_stop` takes `&mut self` and the reason, `&ExitReason`",
        Hook::Down => "`on_down` takes `&mut self` and the notice, `&Down`",
    };
    match arguments.as_slice() {
        [FnArg::Typed(argument)]
            if hook != Hook::Start
                && matches!(argument.ty.as_ref(), Type::Reference(ty) if ty.mutability.is_none()) =>
            {}
        [] => errors.at(&signature.ident, text),
        [first, ..] => errors.at(first, text),
    }
    if let ReturnType::Type(_, ty) = &signature.output
        && hook != Hook::Start
    {
        errors.at(ty, "this hook returns nothing");
    }
}

fn method(function: &ImplItemFn, this: &Path, errors: &mut Errors) -> Option<Method> {
    let signature = &function.sig;
    let mut arguments = Vec::new();
    for input in &signature.inputs {
        let FnArg::Typed(argument) = input else { continue };
        let ty = owned(&argument.ty, this, Place::Argument, errors);
        match argument.pat.as_ref() {
            Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => {
                arguments.push((pattern.ident.clone(), ty));
            }
            other => errors.at(other, "an argument of a message has a name: bind it inside"),
        }
    }
    let output = match &signature.output {
        ReturnType::Default => parse_quote!(()),
        ReturnType::Type(_, ty) => owned(ty, this, Place::Return, errors),
    };
    if signature.ident == "cast" || signature.ident == "cast_timeout" {
        let text = format!("`{}` is reserved: it sends without waiting", signature.ident);
        errors.at(&signature.ident, &text);
    }
    let docs = function.attrs.iter().filter(|attribute| attribute.path().is_ident("doc"));
    Some(Method {
        ident: signature.ident.clone(),
        docs: docs.cloned().collect(),
        is_async: signature.asyncness.is_some(),
        arguments,
        output,
        variant: variant_name(&signature.ident, errors)?,
    })
}

/// `fetch_all` gives `FetchAll`.
fn variant_name(ident: &Ident, errors: &mut Errors) -> Option<Ident> {
    let mut name = String::new();
    for word in ident.unraw().to_string().split('_') {
        let mut letters = word.chars();
        name.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        name.push_str(letters.as_str());
    }
    if syn::parse_str::<Ident>(&name).is_err() {
        errors.at(ident, "this name makes no name for a message; choose another");
        return None;
    }
    Some(renamed(ident, &name))
}

/// The methods without those whose names meet in the reference or in the message.
fn distinct(methods: Vec<Method>, errors: &mut Errors) -> Vec<Method> {
    let names: HashSet<String> =
        methods.iter().map(|method| method.ident.unraw().to_string()).collect();
    let mut variants = HashMap::new();
    let mut is_distinct = |method: &Method| {
        let name = method.ident.unraw().to_string();
        for form in ["_async", "_timeout"] {
            if let Some(base) = name.strip_suffix(form)
                && names.contains(base)
            {
                let text = format!("`{name}` is reserved: it is a form of `{base}`");
                errors.at(&method.ident, &text);
                return false;
            }
        }
        let other = variants.insert(method.variant.to_string(), method.ident.clone());
        if let Some(other) = &other {
            let text = format!("`{other}` makes the same message, `{}`", method.variant);
            errors.at(&method.ident, &text);
        }
        other.is_none()
    };
    methods.into_iter().filter(&mut is_distinct).collect()
}

impl Protocol {
    fn reference(&self) -> Path {
        sibling(&self.this, "Ref")
    }

    fn messages(&self) -> Messages {
        let variants = self.methods.iter().map(|method| Variant {
            ident: method.variant.clone(),
            method: method.ident.unraw().to_string(),
            fields: method
                .arguments
                .iter()
                .enumerate()
                .map(|(index, (_, ty))| (Member::from(index), ty.clone()))
                .collect(),
            arguments: method.names().map(|name| name.unraw().to_string()).collect(),
            reply: Some((Member::from(method.arguments.len()), method.output.clone())),
        });
        Messages {
            ident: Ident::new(&format!("{}Msg", self.name.unraw()), Span::call_site()),
            variants: variants.collect(),
        }
    }
}

impl Method {
    fn names(&self) -> impl Iterator<Item = &Ident> {
        self.arguments.iter().map(|(name, _)| name)
    }

    fn parameters(&self) -> impl Iterator<Item = TokenStream> {
        self.arguments.iter().map(|(name, ty)| quote!(#name: #ty).into_token_stream())
    }
}
