//! A zygote whose preload function may run for long: others start processes meanwhile.
//!
//! Owns which one is on its way. The launcher thread makes it and puts it in its place; in
//! between the hidden thread listens, so that neither waits for it. Whoever wants a worker of
//! it waits as long as there is time, and it comes up also when nobody waits any more.
//! Neighbours: `super` says what is wanted, `server` is the zygote.

use super::server::Zygote;
use super::{Kind, Trouble, install};
use crate::launcher::thread;
use crate::node::hidden;
use crate::sync::lock;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

type Outcome = Result<Arc<Zygote>, Trouble>;

/// Nothing as long as it has not come up, nor failed to.
type News = watch::Receiver<Option<Outcome>>;

/// With the process that it belongs to, as a `Home`.
static COMING: Mutex<Option<(u32, Kind, News)>> = Mutex::new(None);

/// The zygote of this kind, when it has come up. With `may_block` the calling thread waits.
///
/// # Cancel safety
/// Dropping the future ends only the wait.
pub(super) async fn come(kind: &Kind, may_block: bool) -> Outcome {
    let mut news = begin(kind)?;
    if may_block && hidden::is_current() {
        return Err(Trouble::NotYet("the library's own thread does not wait for it".into()));
    }
    let outcome = news.wait_for(Option::is_some).await;
    match outcome.as_deref() {
        Ok(Some(Ok(zygote))) => Ok(zygote.clone()),
        Ok(Some(Err(Trouble::NoZygote(why)))) => Err(Trouble::NoZygote(why.clone())),
        Ok(Some(Err(Trouble::NotYet(why)))) => Err(Trouble::NotYet(why.clone())),
        _ => Err(Trouble::StillNone),
    }
}

/// Has one started, unless it is on its way.
fn begin(kind: &Kind) -> io::Result<News> {
    let hidden = hidden::handle()?;
    let slot = &mut *lock(&COMING);
    let me = std::process::id();
    if let Some((pid, known, news)) = slot
        && (*pid, &*known) == (me, kind)
    {
        return Ok(news.clone());
    }
    let (sender, news) = watch::channel(None);
    let (wanted, its_news) = (kind.clone(), news.clone());
    hidden.spawn(async move {
        let outcome = come_up(wanted).await;
        // From here on it is kept by whoever has it, and by nobody here.
        let over = lock(&COMING).take_if(|(.., news)| news.same_channel(&its_news));
        drop(over);
        sender.send_replace(Some(outcome));
    });
    match slot.replace((me, kind.clone(), news.clone())) {
        // Of another kind, and still on its way.
        Some((pid, ..)) if pid == me => {}
        // A parent's, from before a fork.
        before => std::mem::forget(before),
    }
    Ok(news)
}

async fn come_up(kind: Kind) -> Outcome {
    let wanted = kind.clone();
    let started = match thread::run_async(move || Zygote::begin(&wanted)).await {
        Ok(rising) => rising.listen().await,
        Err(error) => Err(error),
    };
    thread::run_async(move || {
        // A thread's rights are its own, and this is another thread.
        let is_wanted = |now| Kind { rights: kind.rights, ..now } == kind;
        if !Kind::now().is_ok_and(is_wanted) {
            if let Ok(zygote) = started {
                zygote.dismiss();
            }
            return Err(Trouble::NotYet("it is not wanted any more".into()));
        }
        install(kind, started)
    })
    .await
}

/// Keeps everything here still across a fork.
pub(super) fn hold_for_fork() -> impl Sized {
    lock(&COMING)
}
