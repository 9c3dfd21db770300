//! Child mode that nobody but our own parent may ask for, and executables that change
//! while the program runs.

use crate::util::{
    Folder, METHODS, SOON, alone, alone_command, alone_from, copy_program, is_alone, run,
};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::wait::{WaitStatus, waitpid};
use procession::{Error, Process, StartError, StartFault, StartMethod};
use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const MARK: &str = "PROCESSION_CHILD";
const ARGV: &str = "--procession-child";
const REFUSED: i32 = 126;
const NONCE: &str = "6e9f1d1e-0d2b-4c3e-8f6a-1b2c3d4e5f60";

/// Copies of this binary: a plain one, and, where the test may, one that runs as root
/// whoever starts it.
fn copies(folder: &Folder) -> Vec<String> {
    let plain = folder.file("plain");
    copy_program(std::env::current_exe().unwrap(), &plain);
    let mut copies = vec![plain];
    if nix::unistd::geteuid().is_root() {
        let setuid = folder.file("setuid");
        copy_program(&copies[0], &setuid);
        std::fs::set_permissions(&setuid, PermissionsExt::from_mode(0o4755)).unwrap();
        copies.push(setuid);
    }
    std::fs::set_permissions(&folder.0, PermissionsExt::from_mode(0o755)).unwrap();
    copies
}

/// As another user, where the test may.
fn as_nobody(command: &mut Command) {
    if nix::unistd::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
}

#[track_caller]
fn refused(command: Command) {
    let output = run(command);
    assert_eq!(output.code, REFUSED, "{output:?}");
    assert_eq!(output.stdout, "", "main ran");
    assert!(output.stderr.starts_with("procession: child mode refused: "), "{}", output.stderr);
}

#[test]
fn the_environment_alone_makes_no_child() {
    let folder = Folder::new("forced-env");
    for copy in copies(&folder) {
        for value in ["", "1", NONCE] {
            for args in [&[][..], &["--list"], &[ARGV]] {
                let mut command = Command::new(&copy);
                command.env(MARK, value).args(args);
                as_nobody(&mut command);
                refused(command);
            }
        }
    }
    // Without the variable, its command line means nothing to us; libtest refuses it.
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(ARGV);
    assert_eq!(run(command).code, 101);
}

/// A worker that found its way to `main`, as one without the constructor would, has the mark
/// still. It starts nothing, and so no workers of its own without end.
#[test]
fn a_worker_whose_entry_was_missed_starts_nothing() {
    let starts = || {
        let started = METHODS.map(|method| Process::builder(|| 1, ()).start_method(method).start());
        let is_refused = |started| matches!(started, Err(Error::Start(StartError::EntryMissed)));
        (started.map(is_refused), crate::util::children_of(std::process::id()))
    };
    let p = Process::builder(starts, ()).start_method(StartMethod::ForkServer).env(MARK, NONCE);
    let seen = p.start().unwrap().result_timeout(SOON).unwrap();
    assert_eq!(seen, ([true; 2], Vec::new()));
}

/// Starts a copy with descriptors 3 and 4 as given, and gives its code and its output.
fn with_descriptors(copy: &str, control: &OwnedFd, data: &OwnedFd) -> (i32, String) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut actions = PosixSpawnFileActions::init().unwrap();
    for (fd, number) in [
        (writer.as_raw_fd(), 1),
        (writer.as_raw_fd(), 2),
        (control.as_raw_fd(), 3),
        (data.as_raw_fd(), 4),
    ] {
        actions.add_dup2(fd, number).unwrap();
    }
    let argv = [copy, ARGV].map(|arg| CString::new(arg).unwrap());
    let env = [format!("{MARK}={NONCE}")].map(|entry| CString::new(entry).unwrap());
    let attributes = PosixSpawnAttr::init().unwrap();
    let pid = posix_spawn(argv[0].as_c_str(), &actions, &attributes, &argv, &env).unwrap();
    drop((actions, writer));
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    let WaitStatus::Exited(_, code) = waitpid(pid, None).unwrap() else { panic!("{output}") };
    (code, output)
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).unwrap()
}

/// Bytes in the place of a hello: noise, a frame of zeroes, and frames that claim to be
/// long.
fn fakes() -> Vec<Vec<u8>> {
    let header = |kind, len| {
        let header = procession_protocols::wire::Header::new(kind, len).unwrap();
        header.to_bytes().to_vec()
    };
    let control = procession_protocols::wire::Kind::Control;
    let framed = |payload: &[u8]| [header(control, payload.len()), payload.to_vec()].concat();
    vec![
        b"hello".to_vec(),
        vec![0xff; 4096],
        framed(&[]),
        framed(&[0; 300]),
        framed(&[1]),
        framed(&[0xfd; 64]),
        header(control, 1 << 20),
        header(procession_protocols::wire::Kind::Payload, 0),
    ]
}

/// The test's own process is the parent and the maker of the socket, as ours would be:
/// what it says is no hello for this process.
#[test]
fn sockets_of_ones_own_with_a_fake_hello_are_refused() {
    let folder = Folder::new("forced-socket");
    // In the tests' own process, so that it is the parent: the setuid copy is started by
    // the test below.
    let plain = &copies(&folder)[0];
    for fake in fakes() {
        let ((ours, theirs), (_ours, data)) = (pair(), pair());
        let mut ours = UnixStream::from(ours);
        ours.write_all(&fake).unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        let (code, output) = with_descriptors(plain, &theirs, &data);
        assert_eq!(code, REFUSED, "{fake:?} {output}");
        assert!(output.starts_with("procession: child mode refused: "), "{output}");
    }
    // An end without a word is what a parent leaves that was killed, or gave the start up:
    // there is nothing to complain of.
    let ((ours, theirs), (_ours, data)) = (pair(), pair());
    drop(ours);
    assert_eq!(with_descriptors(plain, &theirs, &data), (REFUSED, String::new()));
    // No sockets, but files and pipes.
    let null: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    let (code, output) = with_descriptors(plain, &null, &null);
    assert_eq!(code, REFUSED, "{output}");
    assert!(output.contains("no Unix socket"), "{output}");
    let (reader, _writer) = std::io::pipe().unwrap();
    let reader: OwnedFd = reader.into();
    let (code, output) = with_descriptors(plain, &reader, &reader);
    assert_eq!(code, REFUSED, "{output}");
}

/// The socket's maker has ended when the child looks, as a parent has that was killed during
/// a start; what it said no longer counts.
#[test]
fn a_child_of_a_dead_parent_leaves_silently() {
    let folder = Folder::new("orphan");
    let plain = &copies(&folder)[0];
    let (mut reader, writer) = std::io::pipe().unwrap();
    // The parent in between, which makes the sockets, ends before it execs the child's parent.
    let script = "(sleep 0.2; exec \"$0\" --procession-child 3<&3 4<&4) & exit 0";
    let (control, control_theirs, data, data_theirs) = {
        let maker = Process::builder(
            || {
                let ((a, b), (c, d)) = (pair(), pair());
                [a, b, c, d].map(procession::Fd::from)
            },
            (),
        );
        let ends = maker.start().unwrap().result_timeout(SOON).unwrap();
        let [a, b, c, d] = ends.map(OwnedFd::from);
        (a, b, c, d)
    };
    let mut actions = PosixSpawnFileActions::init().unwrap();
    for (fd, number) in [
        (writer.as_raw_fd(), 1),
        (writer.as_raw_fd(), 2),
        (control_theirs.as_raw_fd(), 3),
        (data_theirs.as_raw_fd(), 4),
    ] {
        actions.add_dup2(fd, number).unwrap();
    }
    let argv = ["/bin/sh", "-c", script, plain].map(|arg| CString::new(arg).unwrap());
    let env = [format!("{MARK}={NONCE}")].map(|entry| CString::new(entry).unwrap());
    let attributes = PosixSpawnAttr::init().unwrap();
    let pid = posix_spawn(argv[0].as_c_str(), &actions, &attributes, &argv, &env).unwrap();
    drop((actions, writer, control_theirs, data_theirs));
    waitpid(pid, None).unwrap();
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    assert_eq!(output, "");
    drop((control, data));
}

/// A privileged program never is a child, and starts none.
#[test]
fn a_setuid_program_is_never_a_child_and_has_none() {
    const NAME: &str = "forced_child::a_setuid_program_is_never_a_child_and_has_none";
    if is_alone(NAME) {
        assert!(nix::unistd::geteuid().is_root());
        if std::env::var_os("PROCESSION_TEST_STARTS").is_some() {
            let error = Process::spawn(|| 1, ()).unwrap_err();
            assert!(matches!(error, Error::Start(StartError::Privileged)), "{error}");
            return;
        }
        // Root in the test's process: gives up its rights, then starts the copy with
        // sockets of its own.
        let copy = std::env::var("PROCESSION_TEST_COPY").unwrap();
        let nobody = nix::unistd::Uid::from_raw(65_534);
        nix::unistd::setresuid(nobody, nobody, nobody).unwrap();
        let ((ours, theirs), (_ours, data)) = (pair(), pair());
        UnixStream::from(ours).write_all(&[0; 64]).unwrap();
        let (code, output) = with_descriptors(&copy, &theirs, &data);
        assert_eq!(code, REFUSED, "{output}");
        assert!(output.contains("more rights than its caller"), "{output}");
        return;
    }
    let folder = Folder::new("forced-setuid");
    let Some(setuid) = copies(&folder).into_iter().nth(1) else {
        eprintln!("not root: nobody here can make a setuid copy");
        return;
    };
    let mut command = alone_command(NAME);
    command.env("PROCESSION_TEST_COPY", &setuid);
    let output = run(command);
    assert_eq!(output.code, 0, "{}\n{}", output.stdout, output.stderr);

    let mut command = alone_from(&setuid, NAME);
    command.env("PROCESSION_TEST_STARTS", "1");
    as_nobody(&mut command);
    let output = run(command);
    assert_eq!(output.code, 0, "{}\n{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("1 passed"), "{}", output.stdout);
}

/// The test as a program from a copy of this binary.
fn copied(name: &str, folder: &Folder, copy: &str) -> Command {
    copy_program(std::env::current_exe().unwrap(), copy);
    let mut command = alone_from(copy, name);
    command.env("PROCESSION_TEST_FOLDER", &folder.0);
    command
}

fn works() {
    let p = Process::spawn(|x: u32| x + 1, (41,)).unwrap();
    assert_eq!(p.result_timeout(SOON).unwrap(), 42);
    let nested = || Process::spawn(|| 7, ()).unwrap().result().unwrap();
    assert_eq!(Process::spawn(nested, ()).unwrap().result_timeout(SOON).unwrap(), 7);
}

#[test]
fn an_executable_that_was_deleted_or_replaced_still_starts_children() {
    const NAME: &str =
        "forced_child::an_executable_that_was_deleted_or_replaced_still_starts_children";
    if is_alone(NAME) {
        let me = std::env::current_exe().unwrap();
        works();
        std::fs::remove_file(&me).unwrap();
        works();
        std::fs::write(&me, "#!/bin/sh\necho not me\n").unwrap();
        works();
        let mut folder = me.clone();
        folder.pop();
        std::fs::rename(&folder, folder.with_extension("moved")).unwrap();
        works();
        std::fs::rename(folder.with_extension("moved"), &folder).unwrap();
        return;
    }
    let folder = Folder::new("deleted");
    let output = run(copied(NAME, &folder, &folder.file("copy")));
    assert_eq!(output.code, 0, "{}\n{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("1 passed"), "{}", output.stdout);
}

#[test]
fn another_executable_is_a_typed_error() {
    alone("forced_child::another_executable_is_a_typed_error", || {
        let start = |path: Option<&str>| {
            procession::set_executable(path.map(Path::new));
            Process::builder(|| 1, ()).stderr(procession::Stdio::Null).start().map(drop)
        };
        let error = |path| match start(Some(path)).unwrap_err() {
            Error::Start(error) => error,
            other => panic!("{other}"),
        };
        // Programs that know nothing of us: they end, or are not there.
        assert!(matches!(error("/bin/true"), StartError::Died { .. }));
        assert!(matches!(error("/bin/false"), StartError::Died { .. }));
        assert!(matches!(error("/no/such/program"), StartError::Io(_)));
        assert!(matches!(error("/etc/passwd"), StartError::Io(_)));
        let folder = Folder::new("another");
        if let Some(other) = another_build(&folder) {
            let found = error(&other);
            let is_foreign = matches!(found, StartError::Refused(StartFault::ForeignImage));
            assert!(is_foreign, "{found:?}");
        }
        start(None).unwrap();
    });
}

/// Row proc-02: an equal copy works, by any form of path.
#[test]
fn an_equal_copy_is_an_executable_by_any_path() {
    alone("forced_child::an_equal_copy_is_an_executable_by_any_path", || {
        use std::os::unix::ffi::OsStrExt;
        let folder = Folder::new("copy");
        let names = [&b"plain"[..], "sp ace \u{e9}".as_bytes(), b"not \xff utf-8"];
        for name in names.map(std::ffi::OsStr::from_bytes) {
            let path = folder.0.join(name);
            copy_program(std::env::current_exe().unwrap(), &path);
            procession::set_executable(Some(&path));
            let p = Process::noop().unwrap();
            p.start().unwrap();
            assert!(p.join_timeout(SOON).unwrap());
            assert_eq!(p.exitcode(), Some(0));
            let exe = Process::spawn(|| std::env::current_exe().unwrap(), ()).unwrap();
            if name.to_str().is_some() {
                assert_eq!(exe.result_timeout(SOON).unwrap(), path);
            }
        }
    });
}

/// A copy of this binary that says it is another build; `None` where the linker wrote no
/// build id into it.
fn another_build(folder: &Folder) -> Option<String> {
    // The head of the note: lengths of name and id, kind 3, name.
    let head = [&[4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0][..], b"GNU\0"].concat();
    let mut image = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let at = image.windows(head.len()).position(|window| window == head)? + head.len();
    image[at] ^= 0xff;
    let path = folder.file("another");
    std::fs::write(&path, image).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    Some(path)
}
