//! A process's own mailbox, and functions that travel.

use procession::{Error, Function, MailboxError, Process, mailbox};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn messages_arrive_in_order_and_by_type() {
    let p = Process::spawn(
        || {
            let mut seen = Vec::new();
            for _ in 0..3 {
                seen.push(mailbox::<(u32, String)>().recv().unwrap());
            }
            let other = mailbox::<u8>().recv_timeout(SOON).unwrap_err().to_string();
            let none = matches!(mailbox::<u8>().try_recv(), Err(MailboxError::Timeout));
            (seen, other, none)
        },
        (),
    )
    .unwrap();
    for i in 0..3u32 {
        p.send(&(i, format!("m{i}"))).unwrap();
    }
    p.send(&"text".to_string()).unwrap();
    let (seen, other, none) = p.result_timeout(SOON).unwrap();
    assert_eq!(seen, [(0, "m0".into()), (1, "m1".into()), (2, "m2".into())]);
    assert!(other.contains("u8"), "{other}");
    assert!(none);
}

#[test]
fn a_full_mailbox_holds_its_sender_back() {
    let p = Process::spawn(
        |go: procession::Fd| {
            let mut file = std::fs::File::from(std::os::fd::OwnedFd::from(go));
            std::io::Read::read_to_end(&mut file, &mut Vec::new()).unwrap();
            let mailbox = mailbox::<u64>();
            std::iter::from_fn(|| mailbox.recv().ok()).take_while(|n| *n != u64::MAX).count()
        },
        {
            let (reader, writer) = std::io::pipe().unwrap();
            WRITER.lock().unwrap().replace(writer);
            (procession::Fd(reader.into()),)
        },
    )
    .unwrap();
    let mut sent = 0u64;
    loop {
        match p.send_timeout(&sent, Duration::from_millis(50)) {
            Ok(()) => sent += 1,
            Err(Error::Timeout) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert!((1..=1024).contains(&sent), "{sent}");
    WRITER.lock().unwrap().take();
    for n in 0..5000u64 {
        p.send(&n).unwrap();
    }
    p.send(&u64::MAX).unwrap();
    assert_eq!(p.result_timeout(SOON).unwrap() as u64, sent + 5000);
}

static WRITER: std::sync::Mutex<Option<std::io::PipeWriter>> = std::sync::Mutex::new(None);

#[test]
fn a_message_to_a_process_that_has_ended_is_an_error() {
    let p = Process::spawn(|| (), ()).unwrap();
    assert!(p.join_timeout(SOON).unwrap());
    assert!(matches!(p.send(&1u8), Err(Error::Closed)));
    assert!(matches!(mailbox::<u8>().recv(), Err(MailboxError::NoParent)));
}

#[test]
fn the_async_form_waits_without_a_thread() {
    let p = Process::spawn(
        || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async { mailbox::<u32>().recv_async().await.unwrap() })
        },
        (),
    )
    .unwrap();
    std::thread::sleep(Duration::from_millis(30));
    p.send(&77u32).unwrap();
    assert_eq!(p.result_timeout(SOON).unwrap(), 77);
}

fn mul(a: i64, b: i64) -> i64 {
    a * b
}

#[test]
fn functions_travel_with_their_types() {
    let times = Function::new(mul).unwrap();
    assert_eq!(times.call((3, 4)), 12);
    assert!(times.name().ends_with("mul"), "{}", times.name());
    let p = Process::spawn(|f: Function<(i64, i64), i64>| (f.call((6, 7)), f), (times.clone(),));
    let (product, back) = p.unwrap().result_timeout(SOON).unwrap();
    assert_eq!((product, back.call((2, 2))), (42, 4));

    // Read as a function of other types it is an error, in the start.
    let p = Process::spawn(|wrapped: (Wrong,)| drop(wrapped), ((Wrong(times),),));
    let error = p.unwrap_err().to_string();
    assert!(error.contains("no function of this program with the types"), "{error}");
    assert!(serde_json::to_string(&Function::new(mul).unwrap()).is_err());
}

/// Written as one type of function, read as another.
struct Wrong(Function<(i64, i64), i64>);

impl serde::Serialize for Wrong {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Wrong {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let _: Function<(String,), ()> = serde::Deserialize::deserialize(deserializer)?;
        unreachable!("it has other types")
    }
}

#[test]
fn a_stopped_child_does_not_hang_a_sender() {
    let p = Process::spawn(|| mailbox::<u8>().recv().is_ok(), ()).unwrap();
    let pid = nix::unistd::Pid::from_raw(p.pid().unwrap().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let begun = Instant::now();
    while p.send_timeout(&vec![0u8; 10_000], Duration::from_millis(20)).is_ok() {
        assert!(begun.elapsed() < SOON);
    }
    p.kill().unwrap();
    assert!(p.join_timeout(SOON).unwrap());
}

/// It goes out in part, the sender waits no longer, and sends nothing after it.
#[test]
fn a_message_that_has_begun_to_go_arrives() {
    let p = Process::spawn(
        || {
            std::thread::sleep(Duration::from_millis(500));
            mailbox::<Vec<u8>>().recv_timeout(SOON).map(|message| message.len()).ok()
        },
        (),
    )
    .unwrap();
    p.send_timeout(&vec![7u8; 1 << 20], Duration::from_millis(50)).unwrap();
    assert_eq!(p.result_timeout(SOON * 2).unwrap(), Some(1 << 20));
}

#[derive(procession::Actor, serde::Serialize, serde::Deserialize)]
struct Busy;

#[procession::methods]
impl Busy {
    pub fn reads_mail(&self) -> bool {
        !matches!(mailbox::<u8>().try_recv(), Err(MailboxError::IsActor))
    }
}

/// Its link carries calls and their answers, which mail would take off it.
#[test]
fn an_actor_has_no_other_mailbox() {
    let actor = procession::Actor::spawn_named(Busy, "busy").unwrap();
    let children = procession::active_children();
    let process = children.iter().find(|child| child.name() == "busy").unwrap();
    assert!(matches!(process.send(&1u8), Err(Error::Invalid(_))));
    assert!(!actor.reads_mail().unwrap());
}
