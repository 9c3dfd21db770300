//! An echo service in a process of its own type, with the ends of two pipes as its fields.
//!
//! What Python does with a subclass of `Process` whose `run` loops over `recv` until `None`.
//! Then the same service is killed in the midst of its work: the client gets an error, at
//! once. An argument (spawn, forkserver or fork) chooses the start method.

mod support;

use procession::{Pipe, PipeError, Process, Receiver, Run, Sender};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Upper {
    requests: Receiver<Option<String>>,
    answers: Sender<String>,
}

impl Run for Upper {
    type Output = ();

    fn run(self) {
        while let Ok(Some(word)) = self.requests.recv() {
            if self.answers.send(word.to_uppercase()).is_err() {
                return;
            }
        }
    }
}

struct Client {
    service: Process<()>,
    ask: Sender<Option<String>>,
    answers: Receiver<String>,
}

fn start() -> procession::Result<Client> {
    let (ask, requests) = Pipe::typed()?;
    let (sender, answers) = Pipe::typed()?;
    let service = Upper { requests, answers: sender }.into_process().start()?;
    Ok(Client { service, ask, answers })
}

fn main() -> procession::Result<()> {
    support::start_method_from_args()?;
    let client = start()?;
    for word in ["hello", "world"] {
        client.ask.send(Some(word.to_owned()))?;
        println!("{word} -> {}", client.answers.recv_timeout(support::DEADLINE)?);
    }
    client.ask.send(None)?;
    client.service.join()?;
    println!("the service has ended, exit code {:?}", client.service.exitcode());

    let client = start()?;
    client.service.kill()?;
    client.service.join()?;
    match client.answers.recv() {
        Err(PipeError::EndOfFile) => println!("killed: no answer will come"),
        other => println!("not expected: {other:?}"),
    }
    if let Err(unsent) = client.ask.send(Some("anybody?".to_owned())) {
        println!("not sent: {:?}", unsent.item);
    }
    Ok(())
}
