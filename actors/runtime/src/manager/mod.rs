//! Managed objects: a server that keeps them, and proxies that use them from elsewhere.
//!
//! Owns what is between `procession_protocols::manager`, which decides, and the face, which
//! knows the types. A managed object is a shared object (`share`) of its server: that keeps
//! it alive while anybody has a proxy, tells of clients' deaths, and lets proxies travel. It
//! must never look into a value: values are kept encoded.
//!
//! ```text
//!  face ── Proxy ── Ask ──> Object ── Call ──> Machine (protocols)
//!            ^                │ functions of users: on threads of `workers`
//!            └──── Reply ─────┘
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `stored` | a value as a server keeps it |
//! | `plain` | such a value that means the same to every reader |
//! | `proxy` | what is held of an object, and calls |
//! | `channel` | a process's stream to a server, for all its calls |
//! | `asked` | an answer that is waited for without blocking a thread |
//! | `reactor` | the threads of a server that read channels and carry calls out |
//! | `object` | an object in its server: its state, whose time is up |
//! | `waiters` | who waits for an object's answers |
//! | `asker` | how answers go back |
//! | `door` | what a server is asked as a whole |
//! | `far` | what clients and servers say that are not of one process tree |
//! | `far_session`, `far_road` | the two ends: a server's and a client's |
//! | `far_traffic` | a client's calls under way, and who reads their answers |
//! | `far_actor` | users' actors, as those clients use them |
//! | `far_out` | what clients say and the server does not read yet |
//! | `far_reply` | how answers go to those clients |
//! | `far_watch` | how they learn of actors' ends |
//! | `json` | plain data as JSON |
//! | `python` | Python programs as clients |
//! | `function` | functions that run in a server |
//! | `later` | their answers, when they wait for something |
//! | `workers` | the threads that they run on |
//! | `actor` | actors of users' types that a server hosts |
//! | `presence` | which objects a client had, for its death |

mod actor;
mod asked;
mod asker;
mod channel;
mod door;
mod far;
pub(crate) mod far_actor;
mod far_out;
mod far_reply;
mod far_road;
mod far_session;
mod far_traffic;
mod far_watch;
mod function;
mod json;
mod later;
mod object;
mod plain;
mod presence;
mod proxy;
mod python;
mod reactor;
mod stored;
mod waiters;
mod workers;

pub use actor::host_as_object;
pub use asked::Asked;
pub use door::{Factory, Form, Offer, Reception};
pub use far::{Sending, Sole, Stream, Values, Watched};
pub use far_road::meet;
pub use far_session::{MAX_SESSIONS, serve};
pub use function::{Change, Routine};
pub use later::{Due, answer_when};
pub use proxy::{ManagerError, Patience, Proxy};
pub use python::{MAX_PYTHON_CONNECTIONS, PythonDoor, as_python};
pub use stored::Stored;
pub use workers::{FUNCTION_PATIENCE, MAX_FUNCTIONS, MAX_WAITING_FUNCTIONS};

use crate::codec::{Encoded, Fd};
use crate::function::FunctionRef;
use crate::share::{Connection, Kind, ShareError};
use channel::{Channel, Channels};
use object::Object;
use procession_protocols::manager::{Call, Place, Seed};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a managed object is asked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// A call of a stock object.
    Call {
        /// Which of the client's threads calls.
        thread: u64,
        /// How long it waits at most; `None` is as long as it takes.
        limit_ms: Option<u64>,
        /// The call.
        call: Call<Stored>,
    },
    /// Change a value in one step, by a function that runs in the server.
    Change {
        /// Which value.
        place: Place<Stored>,
        /// The function.
        function: FunctionRef,
        /// What it gets beside the value.
        args: Stored,
    },
    /// Of the door: make a stock object.
    Create(Seed<Stored>),
    /// Of the door: run a function.
    Run {
        /// The function.
        function: FunctionRef,
        /// Its arguments.
        args: Stored,
    },
    /// Of the door: make, or give, what is offered under this name.
    Make {
        /// The name.
        name: String,
        /// What a factory gets.
        args: Stored,
    },
    /// Of the door: the names of what is offered.
    Names,
    /// Of the door: how many objects there are.
    Count,
    /// Over a connection: from now on the client's calls come over the channel whose end
    /// this is.
    Open(Fd),
    /// Of the door: which methods can be called of what is offered under this name.
    Exposed(String),
}

/// Managed objects, as a kind of shared objects.
pub(crate) enum Managed {}

impl Kind for Managed {
    const NAME: &'static str = "managed object";

    type Own = Object;

    type Away = Away;

    fn attached(
        connection: &Arc<Connection>,
        object: u64,
        _answer: Encoded,
    ) -> Result<Away, ShareError> {
        let channels = connection.extension();
        Ok(Away { connection: connection.clone(), channels, object })
    }

    fn let_go(away: &Away, attachment: u64) -> bool {
        away.channels.let_go(away.object, attachment)
    }

    fn owner_gone(away: &Away) {
        away.channels.end();
    }
}

/// The way to an object in another process.
pub(crate) struct Away {
    connection: Arc<Connection>,
    channels: Arc<Channels>,
    object: u64,
}

impl Away {
    fn channel(&self) -> Result<Arc<Channel>, ShareError> {
        self.channels.channel(&self.connection, self.object)
    }
}
