//! Types in a message: owned, without lifetimes, and without `Self`, which would mean
//! the message there.

use crate::errors::Errors;
use quote::ToTokens;
use syn::visit_mut::{self, VisitMut};
use syn::{Ident, Path, Type};

/// Where a type stands, for what the error says.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    Argument,
    Return,
}

/// The type as it stands in the message, `Self` replaced by `this`.
pub(crate) fn owned(ty: &Type, this: &Path, place: Place, errors: &mut Errors) -> Type {
    let mut ty = ty.clone();
    Owned { this, place, errors, in_function: false }.visit_type_mut(&mut ty);
    ty
}

struct Owned<'a> {
    this: &'a Path,
    place: Place,
    errors: &'a mut Errors,
    /// Inside `fn(&T)` or `Fn(&T)`, where references are the function's own.
    in_function: bool,
}

impl Owned<'_> {
    fn function(&mut self, visit: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.in_function, true);
        visit(self);
        self.in_function = outer;
    }
}

impl VisitMut for Owned<'_> {
    fn visit_type_reference_mut(&mut self, ty: &mut syn::TypeReference) {
        if self.in_function {
            return visit_mut::visit_type_reference_mut(self, ty);
        }
        let instead = match ty.elem.as_ref() {
            Type::Path(path) if path.path.is_ident("str") => "String".to_owned(),
            Type::Path(path) if path.path.is_ident("Path") => "PathBuf".to_owned(),
            Type::Slice(slice) => format!("Vec<{}>", text(&slice.elem)),
            other => text(other),
        };
        let text = match self.place {
            Place::Argument => format!("a message owns its arguments: take `{instead}`"),
            Place::Return => format!("a reply owns its value: return `{instead}`"),
        };
        self.errors.at(&*ty, &text);
    }

    fn visit_type_impl_trait_mut(&mut self, ty: &mut syn::TypeImplTrait) {
        self.errors.at(&*ty, "a message has one type: name it instead of `impl Trait`");
    }

    fn visit_lifetime_mut(&mut self, lifetime: &mut syn::Lifetime) {
        if lifetime.ident != "static" && !self.in_function {
            self.errors.at(&*lifetime, "a message borrows nothing: use an owned type");
        }
    }

    fn visit_type_fn_ptr_mut(&mut self, ty: &mut syn::TypeFnPtr) {
        self.function(|this| visit_mut::visit_type_fn_ptr_mut(this, ty));
    }

    fn visit_parenthesized_generic_arguments_mut(
        &mut self,
        arguments: &mut syn::ParenthesizedGenericArguments,
    ) {
        self.function(|this| {
            visit_mut::visit_parenthesized_generic_arguments_mut(this, arguments);
        });
    }

    fn visit_path_mut(&mut self, path: &mut Path) {
        if path.leading_colon.is_none() && path.segments.first().is_some_and(|s| s.ident == "Self")
        {
            let rest = std::mem::replace(path, self.this.clone());
            path.segments.extend(rest.segments.into_iter().skip(1));
        }
        visit_mut::visit_path_mut(self, path);
    }
}

/// The type as one would write it.
fn text(ty: &Type) -> String {
    ty.to_token_stream().to_string().replace(" < ", "<").replace(" >", ">").replace(" :: ", "::")
}

/// The identifier with another name, at the same place.
pub(crate) fn renamed(ident: &Ident, name: &str) -> Ident {
    Ident::new(name, ident.span())
}

/// The path with another last name.
pub(crate) fn sibling(path: &Path, suffix: &str) -> Path {
    let mut path = path.clone();
    if let Some(last) = path.segments.last_mut() {
        last.ident = quote::format_ident!("{}{suffix}", last.ident);
    }
    path
}
