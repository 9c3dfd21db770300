//! Who says what when, between a listener and its client.
//!
//! ```text
//! Acceptor   challenge ──> answer of this library: welcome with proof, done
//!                          answer of Python: #WELCOME#, its challenge, our answer,
//!                                            its #WELCOME#, done
//! Connector  challenge of this library: answer with proof, welcome, done
//!            challenge of Python: our answer, its #WELCOME#, our challenge, its answer,
//!                                 our #WELCOME#, done
//! ```
//!
//! Owns the order of the messages of both sides; each is a function of (state, message) to
//! what is sent and what has come of it. Random bytes come from outside, once for each
//! handshake. Neighbours: `python`, `native` (the words), and the runtime's `listener`,
//! which carries them and keeps the time.

use super::native::{self, Answer, Hello, Said, Why};
use super::python::{self, Challenge, FAILURE, RANDOM, WELCOME};
use super::{AuthError, AuthKey, Digest, Python, Seal};

/// What has come of a message.
#[derive(Debug)]
pub struct Step {
    /// What is to be sent, also when the handshake has failed.
    pub send: Option<Vec<u8>>,
    /// `None` when the peer has the next word.
    pub end: Option<Result<Session, AuthError>>,
}

impl Step {
    fn say(message: Vec<u8>) -> Self {
        Self { send: Some(message), end: None }
    }

    fn fail(message: impl Into<Vec<u8>>, error: AuthError) -> Self {
        Self { send: Some(message.into()), end: Some(Err(error)) }
    }
}

impl From<Result<Session, AuthError>> for Step {
    fn from(end: Result<Session, AuthError>) -> Self {
        Self { send: None, end: Some(end) }
    }
}

/// What two sides that know the same key have agreed upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Session {
    /// The peer is a program of this library.
    Native {
        /// The lower of both sides' minor versions.
        minor: u8,
        /// The client's, if it stated one; 0 is none.
        fingerprint: u64,
        /// The keys of the session, where a side wanted its messages authenticated.
        seal: Option<Seal>,
    },
    /// The peer speaks Python's protocol, and proved the key by this digest.
    Python(Digest),
}

/// What both sides of a handshake are made of.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The key that the peer must know.
    pub key: AuthKey,
    /// Whether, and how, a peer may speak Python's protocol.
    pub python: Python,
    /// Whether messages are to be authenticated after the handshake.
    pub seals: bool,
    /// What the objects look like that are served; 0 accepts every client, and is accepted
    /// by every listener.
    pub fingerprint: u64,
}

/// The side that was connected to.
#[derive(Debug)]
pub struct Acceptor {
    terms: Terms,
    challenge: Challenge,
    state: Accepting,
}

#[derive(Debug)]
enum Accepting {
    Answer,
    /// Python's client has proved the key by this digest, and now asks us.
    Challenge(Digest),
    Welcome(Digest),
    Over,
}

impl Acceptor {
    /// Begins; gives what is to be sent first.
    pub fn new(terms: Terms, random: &[u8; RANDOM]) -> (Self, Vec<u8>) {
        let marked = native::marked(Hello::ours(terms.seals), random);
        let challenge = Challenge::new(Digest::Sha256, &marked);
        let first = challenge.message();
        (Self { terms, challenge, state: Accepting::Answer }, first)
    }

    /// What is said instead to a process of a user who is not to come.
    pub fn not_this_user() -> Vec<u8> {
        native::failure(Why::User)
    }

    /// The client said this.
    pub fn hear(&mut self, message: &[u8]) -> Step {
        match std::mem::replace(&mut self.state, Accepting::Over) {
            Accepting::Answer if message.starts_with(native::ANSWER) => self.native(message),
            Accepting::Answer => {
                match self.challenge.check(&self.terms.key, message, self.terms.python) {
                    Ok(digest) => {
                        self.state = Accepting::Challenge(digest);
                        Step::say(WELCOME.to_vec())
                    }
                    Err(error) => Step::fail(FAILURE, error),
                }
            }
            Accepting::Challenge(digest) => {
                match python::answer(&self.terms.key, message, self.terms.python) {
                    Ok((_, answer)) => {
                        self.state = Accepting::Welcome(digest);
                        Step::say(answer)
                    }
                    Err(error) => Err(error).into(),
                }
            }
            Accepting::Welcome(digest) => {
                python::welcomed(message).map(|()| Session::Python(digest)).into()
            }
            Accepting::Over => Err(AuthError::Protocol("the handshake is over")).into(),
        }
    }

    fn native(&self, message: &[u8]) -> Step {
        let (answer, proved, proof) = match Answer::read(message) {
            Ok(read) => read,
            Err(error @ AuthError::Version { .. }) => {
                return Step::fail(native::failure(Why::Version), error);
            }
            Err(error) => return Step::fail(native::failure(Why::Key), error),
        };
        let challenge = self.challenge.message();
        let said = Said { challenge: &challenge, answer: proved };
        let key = &self.terms.key;
        if !said.is_client_proof(key, proof) {
            return Step::fail(native::failure(Why::Key), AuthError::WrongDigest);
        }
        let ours = self.terms.fingerprint;
        if ours != 0 && answer.fingerprint != 0 && ours != answer.fingerprint {
            return Step::fail(native::failure(Why::Fingerprint), AuthError::Fingerprint);
        }
        let [from_client, from_us] = said.session(key);
        let seals = self.terms.seals || answer.hello.seals;
        let session = Session::Native {
            minor: answer.hello.minor.min(native::MINOR),
            fingerprint: answer.fingerprint,
            seal: seals.then(|| Seal::new(from_us, from_client)),
        };
        Step { send: Some(said.welcome(key)), end: Some(Ok(session)) }
    }
}

/// The side that connects.
#[derive(Debug)]
pub struct Connector {
    terms: Terms,
    random: [u8; RANDOM],
    state: Connecting,
}

#[derive(Debug)]
enum Connecting {
    Challenge,
    /// A listener of this library has our proof, and gives its own.
    Proof {
        challenge: Vec<u8>,
        answer: Vec<u8>,
        hello: Hello,
    },
    /// Python's listener has our answer.
    Welcome,
    /// It has our challenge.
    Answer(Challenge),
    Over,
}

impl Connector {
    /// Begins; the listener has the first word.
    pub fn new(terms: Terms, random: &[u8; RANDOM]) -> Self {
        Self { terms, random: *random, state: Connecting::Challenge }
    }

    /// The listener said this.
    pub fn hear(&mut self, message: &[u8]) -> Step {
        match std::mem::replace(&mut self.state, Connecting::Over) {
            Connecting::Challenge => self.challenged(message),
            Connecting::Proof { challenge, answer, hello } => {
                self.proved(message, &Said { challenge: &challenge, answer: &answer }, hello).into()
            }
            Connecting::Welcome => match python::welcomed(message) {
                Ok(()) => {
                    let challenge = Challenge::new(Digest::Sha256, &self.random);
                    let message = challenge.message();
                    self.state = Connecting::Answer(challenge);
                    Step::say(message)
                }
                Err(error) => Err(error).into(),
            },
            Connecting::Answer(challenge) => {
                match challenge.check(&self.terms.key, message, self.terms.python) {
                    Ok(digest) => Step {
                        send: Some(WELCOME.to_vec()),
                        end: Some(Ok(Session::Python(digest))),
                    },
                    Err(error) => Step::fail(FAILURE, error),
                }
            }
            Connecting::Over => Err(AuthError::Protocol("the handshake is over")).into(),
        }
    }

    fn challenged(&mut self, message: &[u8]) -> Step {
        if let Some(error) = native::why_rejected(message) {
            return Err(error).into();
        }
        if let Some(hello) = native::hello_in(message) {
            return self.answer(message, hello);
        }
        match python::answer(&self.terms.key, message, self.terms.python) {
            Ok((_, answer)) => {
                self.state = Connecting::Welcome;
                Step::say(answer)
            }
            Err(error) => Err(error).into(),
        }
    }

    fn answer(&mut self, challenge: &[u8], hello: Hello) -> Step {
        if hello.major != native::MAJOR {
            let error = AuthError::Version { ours: native::MAJOR, theirs: hello.major };
            return Err(error).into();
        }
        let mut random = [0; 32];
        random.copy_from_slice(&self.random[..32]);
        let ours = Hello::ours(self.terms.seals);
        let answer = Answer { hello: ours, fingerprint: self.terms.fingerprint, random }.bytes();
        let challenge = challenge.to_vec();
        let proof = Said { challenge: &challenge, answer: &answer }.client_proof(&self.terms.key);
        let message = [&answer[..], &proof].concat();
        self.state = Connecting::Proof { challenge, answer, hello };
        Step::say(message)
    }

    fn proved(&self, message: &[u8], said: &Said<'_>, hello: Hello) -> Result<Session, AuthError> {
        if let Some(error) = native::why_rejected(message) {
            return Err(error);
        }
        let key = &self.terms.key;
        if !said.is_welcome(key, message) {
            return Err(AuthError::WrongDigest);
        }
        let [from_us, from_listener] = said.session(key);
        Ok(Session::Native {
            minor: hello.minor.min(native::MINOR),
            fingerprint: self.terms.fingerprint,
            seal: (self.terms.seals || hello.seals).then(|| Seal::new(from_us, from_listener)),
        })
    }
}
