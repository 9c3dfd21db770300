//! Processes of other users at a Unix socket: who may come, and what they are told.
//!
//! Needs a process of another user, which root alone can make; others say so and test nothing.

use super::KEY;
use crate::util::{Folder, SOON, alone_from, copy_program, is_alone, run};
use procession::{Address, AuthError, Client, Listener, ListenerError};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;

/// A user and group that nobody here is.
const OTHER: u32 = 54_321;

/// Where the other user's process finds the listener.
const ADDRESS: &str = "PROCESSION_TEST_LISTENER";

#[test]
fn another_users_client_is_sent_away_unless_it_may_come() {
    const NAME: &str = "users::another_users_client_is_sent_away_unless_it_may_come";
    if is_alone(NAME) {
        come();
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not root: nobody here can start another user's process");
        return;
    }
    let folder = Folder::new("users");
    // Theirs are the program and the way to the socket, not what is in the target folder.
    let program = folder.file("client");
    copy_program(std::env::current_exe().unwrap(), &program);
    for path in [folder.0.as_path(), program.as_ref()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    for address in [folder.file("socket"), format!("\0{}", folder.file("name"))] {
        for (may_come, is_reported) in [(false, false), (false, true), (true, false)] {
            let builder = Listener::builder().address(address.as_str()).authkey(KEY).mode(0o666);
            let builder = builder.other_users(may_come).report_refused(is_reported);
            let listener = builder.bind().unwrap();
            if let Address::Unix(path) = listener.address() {
                assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o777, 0o666);
            }
            let mut client = alone_from(&program, NAME);
            client.env(ADDRESS, listener.address().to_string());
            client.uid(OTHER).gid(OTHER).current_dir(&folder.0);
            let (accepted, output) = std::thread::scope(|scope| {
                let accepting = scope.spawn(|| {
                    let accepted = listener.accept_timeout(SOON)?;
                    accepted.send("welcome").unwrap();
                    Ok::<_, ListenerError>(accepted.peer().unwrap().credentials.unwrap())
                });
                let output = run(client);
                if !may_come && !is_reported {
                    // The same wait goes on, for the listener's own user.
                    let own = Client::connect(listener.address(), KEY).unwrap();
                    assert_eq!(own.recv_timeout::<String>(SOON).unwrap(), "welcome");
                }
                (accepting.join().unwrap(), output)
            });
            let said = if may_come { "it said welcome" } else { "it was sent away" };
            assert!(output.code == 0 && output.stdout.contains(said), "{output:?}");
            match accepted {
                Err(ListenerError::OtherUser(user)) => assert!(is_reported && user == OTHER),
                accepted => assert_eq!(accepted.unwrap().uid, if may_come { OTHER } else { 0 }),
            }
        }
    }
}

/// What the other user's process does.
fn come() {
    assert_eq!(nix::unistd::geteuid().as_raw(), OTHER);
    let address = std::env::var(ADDRESS).unwrap();
    // As an abstract address is shown.
    let address = match address.strip_prefix('@') {
        Some(name) => Address::Abstract(name.as_bytes().to_vec()),
        None => address.parse().unwrap(),
    };
    match Client::connect(address, KEY) {
        Ok(connection) => {
            println!("it said {}", connection.recv_timeout::<String>(SOON).unwrap());
        }
        Err(ListenerError::Authentication(AuthError::OtherUser)) => println!("it was sent away"),
        Err(error) => panic!("{error}"),
    }
}
