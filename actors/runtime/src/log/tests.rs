//! The layer as a subscriber meets it, and the process-wide switch in processes of its own.

use super::*;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, pipe};
use std::process::{Command, Stdio};
use std::sync::Arc;
use tracing::dispatcher::Dispatch;

/// Runs `body` under a layer of its own and returns the lines.
fn lines(level: u32, body: impl FnOnce(&'static AtomicU32)) -> String {
    lines_of(level, |_| {}, body)
}

fn lines_of(
    level: u32,
    prepare: impl FnOnce(&'static Output),
    body: impl FnOnce(&'static AtomicU32),
) -> String {
    let (mut reader, writer) = pipe().unwrap();
    // Read beside, so that a full pipe doesn't stop the writer; the end marks the end.
    let end = writer.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        let mut all = Vec::new();
        let mut buffer = vec![0; 65536];
        while !all.ends_with(b"\0") {
            let count = reader.read(&mut buffer).unwrap();
            assert!(count > 0);
            all.extend_from_slice(&buffer[..count]);
        }
        all.pop();
        String::from_utf8(all).unwrap()
    });
    let output: &'static Output = Box::leak(Box::new(Output::new(Some(writer.into()))));
    output.set_name("Process-1");
    prepare(output);
    let level: &'static AtomicU32 = Box::leak(Box::new(AtomicU32::new(level)));
    let subscriber = Registry::default().with(StderrLayer { output, level }.filtered());
    dispatcher::with_default(&Dispatch::new(subscriber), || body(level));
    std::io::Write::write_all(&mut { end }, b"\0").unwrap();
    thread.join().unwrap()
}

#[test]
fn an_event_is_a_line_with_its_fields() {
    let got = lines(20, |_| {
        tracing::info!(target: "procession::child", "child process calling self.run()");
        tracing::warn!(count = 3, name = "x y", r#type = ?Some(1), "doomed");
        tracing::debug!("too low");
    });
    assert_eq!(
        got,
        "[INFO/Process-1] child process calling self.run()\n\
         [WARNING/Process-1] doomed count=3 name=\"x y\" type=Some(1)\n"
    );
}

// log-01
#[test]
fn levels_filter_by_number() {
    let all = || {
        for level in [5, 10, 20, 25, 30, 40, 50, 32] {
            log(level, format_args!("at {level}"));
        }
    };
    for threshold in [1, 5, 10, 20, 25, 30, 31, 40, 50, 51] {
        let got = lines(threshold, |_| all());
        let expected: Vec<u32> = [5, 10, 20, 25, 30, 40, 50, 32]
            .into_iter()
            .filter(|level| *level >= threshold)
            .collect();
        let seen: Vec<u32> = got
            .lines()
            .map(|line| line.split("at ").nth(1).unwrap().split(' ').next().unwrap())
            .map(|level| level.parse().unwrap())
            .collect();
        assert_eq!(seen, expected, "threshold {threshold}: {got}");
    }
    let got = lines(1, |_| all());
    for name in ["SUBDEBUG", "DEBUG", "INFO", "SUBWARNING", "WARNING", "ERROR", "CRITICAL"] {
        assert!(got.contains(&format!("[{name}/Process-1] at ")), "{got}");
    }
    assert!(got.contains("[Level 32/Process-1] at 32"), "{got}");
}

#[test]
fn an_unset_level_is_warning() {
    let got = lines(0, |_| {
        tracing::info!("no");
        tracing::warn!("yes");
    });
    assert_eq!(got, "[WARNING/Process-1] yes\n");
}

#[test]
fn the_level_changes_on_the_fly() {
    let got = lines(40, |level| {
        for value in [40, 10, 40] {
            level.store(value, Ordering::Relaxed);
            tracing_core::callsite::rebuild_interest_cache();
            tracing::debug!("with {value}");
        }
    });
    assert_eq!(got, "[DEBUG/Process-1] with 10\n");
}

#[test]
fn long_lines_go_to_the_sink_until_it_refuses() {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let for_sink = taken.clone();
    let got = lines_of(
        20,
        |output| {
            output.set_sink(Box::new(move |line| {
                for_sink.lock().unwrap().push(line.len());
                for_sink.lock().unwrap().len() == 1
            }));
        },
        |_| {
            tracing::info!("{}", "short");
            tracing::info!("{}", "a".repeat(PIPE_BUF));
            tracing::info!("{}", "b".repeat(PIPE_BUF));
        },
    );
    let overhead = "[INFO/Process-1] \n".len();
    assert_eq!(*taken.lock().unwrap(), [PIPE_BUF + overhead, PIPE_BUF + overhead]);
    let kinds: Vec<&str> = got.lines().map(|line| &line[17..22]).collect();
    assert_eq!(kinds, ["short", "bbbbb"]);
}

#[test]
fn lines_of_exactly_one_pipe_buf_are_written_directly() {
    let overhead = "[INFO/Process-1] \n".len();
    let got = lines_of(
        20,
        |output| output.set_sink(Box::new(|_| panic!("asked"))),
        |_| tracing::info!("{}", "a".repeat(PIPE_BUF - overhead)),
    );
    assert_eq!(got.len(), PIPE_BUF);
}

#[test]
fn threads_do_not_mix_their_lines() {
    const EACH: usize = 400;
    let got = lines(20, |_| {
        std::thread::scope(|scope| {
            for thread in 0..8_u8 {
                let current = dispatcher::get_default(Clone::clone);
                scope.spawn(move || {
                    let _guard = dispatcher::set_default(&current);
                    let letter = char::from(b'a' + thread).to_string();
                    for n in 0..EACH {
                        // Short and long ones by turns.
                        tracing::info!("{}", letter.repeat(if n % 2 == 0 { 8192 } else { 100 }));
                    }
                });
            }
        });
    });
    let mut counts = HashMap::new();
    for line in got.lines() {
        let body = line.strip_prefix("[INFO/Process-1] ").unwrap();
        assert!(body.len() == 8192 || body.len() == 100);
        let letter = body.as_bytes()[0];
        assert!(body.bytes().all(|byte| byte == letter));
        *counts.entry(letter).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 8);
    assert!(counts.values().all(|count| *count == EACH));
}

#[test]
fn other_layers_see_what_ours_does_not_want() {
    struct Counter(Arc<AtomicU32>);
    impl<S: Subscriber> Layer<S> for Counter {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let seen = Arc::new(AtomicU32::new(0));
    let subscriber = Registry::default().with(layer()).with(Counter(seen.clone()));
    dispatcher::with_default(&Dispatch::new(subscriber), || {
        assert!(writes_to_stderr());
        tracing::trace!("not for stderr");
    });
    assert_eq!(seen.load(Ordering::Relaxed), 1);
    assert!(!dispatcher::with_default(&Dispatch::new(Registry::default()), writes_to_stderr));
}

#[test]
fn the_names_of_spans_go_to_the_child() {
    assert!(current_span_names().is_empty());
    // WARNING lines only, yet spans are known.
    lines(30, |_| {
        assert!(current_span_names().is_empty());
        let _outer = tracing::info_span!("job", id = 7).entered();
        let _inner = tracing::info_span!("step").entered();
        assert_eq!(current_span_names(), ["job", "step"]);
    });
}

#[test]
fn a_childs_root_span_says_where_it_comes_from() {
    /// Collects the fields of new spans.
    struct Spans(Arc<Mutex<HashMap<String, String>>>);
    impl<S: Subscriber> Layer<S> for Spans {
        fn on_new_span(
            &self,
            attributes: &tracing::span::Attributes<'_>,
            _: &tracing::Id,
            _: Context<'_, S>,
        ) {
            struct Into<'a>(&'a mut HashMap<String, String>);
            impl Visit for Into<'_> {
                fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                    self.0.insert(field.name().to_owned(), format!("{value:?}"));
                }
            }
            assert!(attributes.is_root());
            attributes.record(&mut Into(&mut self.0.lock().unwrap()));
        }
    }
    let fields = Arc::new(Mutex::new(HashMap::new()));
    let subscriber = Registry::default().with(layer()).with(Spans(fields.clone()));
    dispatcher::with_default(&Dispatch::new(subscriber), || {
        let root = child_root_span(&["job".into(), "step".into()], 41);
        assert!(!root.is_disabled());
        let _entered = root.entered();
        assert_eq!(current_span_names(), ["process"]);
    });
    let fields = fields.lock().unwrap();
    assert_eq!(fields["parent_spans"], "\"job:step\"");
    assert_eq!(fields["ppid"], "41");
    assert_eq!(fields["pid"], std::process::id().to_string());
    assert_eq!(fields["process"], "MainProcess");
}

/// Runs the test `name` again in a process of its own, where this returns `None`; here
/// it returns what that wrote to stderr.
fn in_own_process(name: &str) -> Option<String> {
    const MARK: &str = "PROCESSION_TEST_LOG";
    if std::env::var_os(MARK).is_some() {
        return None;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([&format!("log::tests::{name}"), "--exact", "--nocapture"])
        .env(MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        text.push_str(&line.unwrap());
        text.push('\n');
    }
    assert!(child.wait().unwrap().success(), "{text}");
    Some(text.replace(&child.id().to_string(), "PID"))
}

// log-02, as far as one process shows it: the level that children will be given.
#[test]
fn asking_twice_changes_the_level() {
    if let Some(text) = in_own_process("asking_twice_changes_the_level") {
        assert_eq!(
            text,
            "[INFO/MainProcess] two\n\
             [ERROR/Worker-1] five\n\
             [CRITICAL/Worker-1] six pid=PID\n"
        );
        return;
    }
    assert_eq!((level(), effective_level()), (None, LogLevel::Warning));
    tracing::error!(target: "procession", "one: nobody asked");
    assert!(!writes_to_stderr());
    log_to_stderr(Level::INFO).unwrap();
    tracing::info!(target: "procession", "two");
    log_to_stderr(32).unwrap();
    assert_eq!(level(), Some(LogLevel::Other(32)));
    tracing::info!("three");
    tracing::warn!("four");
    set_process_name("Worker-1");
    install_in_child(effective_level()).unwrap();
    tracing::error!("five");
    show_pid(true);
    assert!(shows_pid());
    log(LogLevel::Critical, format_args!("six"));
    assert!(writes_to_stderr());
}

#[test]
fn a_subscriber_of_the_users_is_left_alone() {
    if in_own_process("a_subscriber_of_the_users_is_left_alone").is_some() {
        return;
    }
    tracing::subscriber::set_global_default(Registry::default()).unwrap();
    assert_eq!(log_to_stderr(LogLevel::Info), Err(LogError::SubscriberInstalled));
    assert_eq!(level(), None);
}

#[test]
fn our_layer_in_the_users_subscriber_obeys_log_to_stderr() {
    if let Some(text) = in_own_process("our_layer_in_the_users_subscriber_obeys_log_to_stderr") {
        assert_eq!(text, "[WARNING/MainProcess] by default\n[DEBUG/MainProcess] asked for\n");
        return;
    }
    tracing::subscriber::set_global_default(Registry::default().with(layer())).unwrap();
    tracing::debug!("not by default");
    tracing::warn!("by default");
    log_to_stderr(LogLevel::Debug).unwrap();
    tracing::debug!("asked for");
}
