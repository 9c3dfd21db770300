//! A queue that other programs use: a server in this process, a local child that puts, and
//! clients that know address and key.
//!
//! Three ways in which connecting can end are shown: accepted, wrong key, nobody there.
//! An argument (spawn or forkserver) chooses the start method; a fork is refused beside a
//! thread.

mod support;

use procession::manager::QueueProxy;
use procession::{Address, Error, ListenerError, Manager, Process};

const KEY: &[u8] = b"abracadabra";

fn client(address: Address) -> String {
    let manager = Manager::connect(address, KEY).expect("it serves");
    let queue = manager.get::<QueueProxy<String>>("get_queue").expect("it is offered");
    queue.get().expect("something is put")
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    support::start_method_from_args()?;
    let server = Manager::builder()
        .address("127.0.0.1:0")
        .authkey(KEY)
        .offer::<QueueProxy<String>>("get_queue")
        .get_server()?;
    let address = server.address().clone();
    let serving = server.clone();
    let serving = std::thread::spawn(move || serving.serve_forever());

    let queue = server.manager().get::<QueueProxy<String>>("get_queue")?;
    queue.put("hello".into())?;
    println!("a client got {:?}", Process::spawn(client, (address.clone(),))?.result()?);
    let put = |queue: QueueProxy<String>| queue.put("local hello".into()).expect("it is kept");
    Process::spawn(put, (queue,))?.result()?;
    println!("a client got {:?}", Process::spawn(client, (address.clone(),))?.result()?);

    let wrong = Manager::connect(address.clone(), b"another key");
    let is_refused = matches!(wrong, Err(Error::Listener(ListenerError::Authentication(_))));
    println!("another key is refused: {is_refused}");
    server.stop();
    serving.join().expect("it serves until it is stopped");
    let nobody = Manager::connect(address, KEY);
    println!("nobody is there: {}", matches!(nobody, Err(Error::Listener(ListenerError::Io(_)))));
    Ok(())
}
