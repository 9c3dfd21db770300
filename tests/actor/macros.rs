//! All that the macros take, under the strictest lints.

#![deny(warnings, missing_docs, unreachable_pub, clippy::pedantic)]
#![allow(clippy::missing_errors_doc, clippy::missing_panics_doc)]

/// A module, so that paths and visibilities are put to use.
pub mod shop {
    use procession::{Actor, Down, ExitReason, Message, Reply, methods};
    use serde::{Deserialize, Serialize};

    /// Something for sale.
    #[derive(Clone, Serialize, Deserialize)]
    pub struct Item {
        /// What it is called.
        pub r#type: String,
    }

    /// An actor.
    #[derive(Actor, Default, Serialize, Deserialize)]
    #[actor(mailbox = 64, overflow = "block")]
    pub struct Shop {
        items: Vec<Item>,
        #[serde(skip)]
        friends: Vec<ShopRef>,
    }

    #[methods]
    impl Shop {
        const SIZE: usize = 2;

        /// A constructor is no message.
        #[must_use]
        pub fn new() -> Self {
            Self::default()
        }

        /// Takes an item in.
        pub fn put(&mut self, mut item: Item, timeout: u8, reply: Vec<u8>) -> usize {
            item.r#type = format!("{}{timeout}{}", item.r#type, reply.len());
            self.items.push(item);
            self.count()
        }

        /// A name that needs `r#`.
        pub async fn r#match(&self, r#type: String) -> Result<Item, String> {
            let found = self.items.iter().find(|item| item.r#type == r#type);
            found.cloned().ok_or(r#type)
        }

        /// `Self` in every place.
        pub fn merge(&mut self, other: Option<Box<Self>>, sizes: [u8; Self::SIZE]) -> Vec<Self> {
            let _ = (other, sizes);
            Vec::new()
        }

        /// References to actors of the same type.
        pub fn befriend(&mut self, friend: ShopRef, more: Vec<ShopRef>) -> ShopRef {
            self.friends.extend(more);
            self.friends.push(friend.clone());
            friend
        }

        /// Nothing.
        pub const fn nothing(&self) {}

        fn count(&self) -> usize {
            self.items.len()
        }

        #[on_start]
        async fn opened(&mut self) -> Result<(), std::io::Error> {
            std::future::ready(Ok(())).await
        }

        #[on_stop]
        fn closed(&mut self, why: &ExitReason) {
            let _ = why;
            self.items.clear();
        }

        #[on_down]
        fn alone(&self, down: &Down) {
            let _ = (down, self.count());
        }
    }

    /// No messages at all.
    #[derive(Actor)]
    pub struct Empty;

    #[methods]
    impl Empty {}

    #[derive(Actor)]
    struct Private;

    struct Secret;

    mod elsewhere {
        use super::Secret;
        use procession::methods;

        #[methods]
        impl super::Private {
            pub fn keep(&mut self, secret: Secret) -> Secret {
                secret
            }
        }
    }

    /// Written by hand.
    #[derive(Message)]
    pub enum Hand {
        /// Nothing.
        Unit,
        /// A call.
        Ask {
            /// What.
            what: String,
            /// Where to.
            to: procession::Reply<u8>,
        },
        /// Another.
        Tell(Reply<()>, Secretive),
    }

    /// Without serde.
    pub struct Secretive;

    /// Starts all of it.
    pub fn run() {
        let private = Private.host().expect("hosted");
        assert!(private.keep(Secret).is_ok());
        assert!(Empty.host().is_ok());
    }
}

/// What starting an actor in a process of its own asks for.
fn travels<M: procession::__private::Wire>() {}

#[test]
fn all_shapes_compile_without_a_warning_and_run() {
    use procession::Actor;
    travels::<shop::ShopMsg>();
    travels::<shop::EmptyMsg>();
    shop::run();
    let shop = shop::Shop::new().host().expect("hosted");
    let item = shop::Item { r#type: "hat".into() };
    assert_eq!(shop.put(item, 1, Vec::new()), Ok(1));
    assert!(shop.r#match("hat10".into()).is_ok_and(|found| found.is_ok()));
    assert!(shop.match_timeout("x".into(), std::time::Duration::from_secs(10)).is_ok());
    assert!(shop.cast().r#match("hat".into()).is_ok());
    drop(shop.match_async("hat".into()));
    drop(shop::Hand::Unit);
}
