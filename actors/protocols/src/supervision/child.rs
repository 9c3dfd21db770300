//! The life of one child: its state, its one timer, the actions each move takes.
//!
//! Owns the moves of a single child. It never looks at siblings, strategies or
//! budgets; `policy` above decides which move is made.
//!
//! ```text
//!              start            ready
//!     Down ------------> Starting ------> Running
//!      ^ ^                |  |  |            |  |
//!      | |   end, ignore  |  |  |    stop    |  |
//!      | +----------------+  |  +-----+------+  |
//!      |                     |        v         | end
//!      |         end      end|     Stopping     |
//!      |<--------------------|--------+         |
//!      |                     v                  |
//!      +----- end ----- (policy decides) <------+
//!      |                     |
//!      |   stop              v           timer
//!      +-------------- Restarting --------------> Starting
//! ```
//!
//! The start deadline makes `Starting` late: the process is killed, and the child
//! stays `Starting` until its end is read. A child holds at most one timer: the start
//! deadline, the backoff, or the deadline of its stop.

use super::event::{Action, ChildState, Incarnation, Report, RequestId, TimerToken};
use super::millis;
use super::spec::{ChildSpec, Shutdown};
use crate::exit::ExitReason;

/// How often a wait for a stopping child is reported.
const STOP_LOG_INTERVAL_MS: u64 = 10_000;

/// SIGKILL, the same number on every Unix.
const SIGKILL: i32 = 9;

/// What one call of the policy collects, and the numbers it hands out.
#[derive(Debug, Clone, Default)]
pub(super) struct Turn {
    pub(super) now_ms: u64,
    pub(super) actions: Vec<Action>,
    last_timer: u64,
    last_incarnation: u64,
}

impl Turn {
    pub(super) fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(super) fn report(&mut self, report: Report) {
        self.push(Action::Report(report));
    }
}

/// Where the child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Down,
    /// `late`: its deadline has passed and it was killed.
    Starting {
        deadline_ms: u64,
        late: bool,
    },
    Running {
        since_ms: u64,
    },
    /// Without a timer while its group is still being stopped.
    Restarting {
        delay_ms: u64,
    },
    /// `kill`: the timer is a deadline. Otherwise it only reports the wait.
    Stopping {
        since_ms: u64,
        kill: bool,
    },
}

/// One child.
#[derive(Debug, Clone)]
pub(super) struct Child {
    pub(super) spec: ChildSpec,
    pub(super) state: State,
    /// The latest life.
    pub(super) incarnation: Option<Incarnation>,
    /// It belongs to the group that is being stopped and then started.
    pub(super) due: bool,
    /// Its first start, asked for at run time, is not over: it stays only if it starts.
    pub(super) adding: bool,
    /// Who waits for the start or the stop in progress.
    pub(super) request: Option<RequestId>,
    /// Restarts since it was last healthy.
    pub(super) restarts: u32,
    timer: Option<TimerToken>,
}

impl Child {
    pub(super) fn new(spec: ChildSpec) -> Self {
        Self {
            spec,
            state: State::Down,
            incarnation: None,
            due: false,
            adding: false,
            request: None,
            restarts: 0,
            timer: None,
        }
    }

    /// Whether a process of it exists, or may exist.
    pub(super) fn is_alive(&self) -> bool {
        matches!(
            self.state,
            State::Starting { .. } | State::Running { .. } | State::Stopping { .. }
        )
    }

    /// Whether a start or a stop is in progress.
    pub(super) fn is_moving(&self) -> bool {
        matches!(self.state, State::Starting { .. } | State::Stopping { .. })
    }

    pub(super) fn is_restarting(&self) -> bool {
        matches!(self.state, State::Restarting { .. })
    }

    pub(super) fn is_timer(&self, token: TimerToken) -> bool {
        self.timer == Some(token)
    }

    pub(super) fn public_state(&self) -> ChildState {
        match self.state {
            State::Down => ChildState::Down,
            State::Starting { .. } => ChildState::Starting,
            State::Running { .. } => ChildState::Running,
            State::Restarting { .. } => ChildState::Restarting,
            State::Stopping { .. } => ChildState::Stopping,
        }
    }

    /// Begins a new life. Only a child without a process may.
    pub(super) fn start(&mut self, turn: &mut Turn) {
        debug_assert!(!self.is_alive(), "two lives of one child");
        self.due = false;
        let replaces = self.incarnation;
        turn.last_incarnation += 1;
        let incarnation = Incarnation(turn.last_incarnation);
        self.incarnation = Some(incarnation);
        let deadline_ms = turn.now_ms.saturating_add(millis(self.spec.start_timeout));
        self.state = State::Starting { deadline_ms, late: false };
        turn.push(Action::StartChild {
            id: self.spec.id.clone(),
            incarnation,
            replaces,
            request: self.request,
            deadline_ms,
        });
        self.set_timer(turn, deadline_ms);
    }

    /// It says that it is ready. One that is being stopped or was killed for being
    /// late is not believed.
    pub(super) fn ready(&mut self, turn: &mut Turn) -> bool {
        let in_time = matches!(self.state, State::Starting { late: false, .. });
        if in_time {
            self.clear_timer(turn);
            self.state = State::Running { since_ms: turn.now_ms };
        }
        in_time
    }

    /// Stops the life in progress, unless that has begun.
    pub(super) fn stop(&mut self, turn: &mut Turn) {
        let (start_deadline_ms, late) = match self.state {
            State::Starting { deadline_ms, late } => (Some(deadline_ms), late),
            State::Running { .. } => (None, false),
            State::Down | State::Restarting { .. } | State::Stopping { .. } => return,
        };
        let Some(incarnation) = self.incarnation else { return };
        // A child that is not ready yet keeps its start deadline, so that even one
        // with unlimited time to stop cannot hold up the stop by never starting.
        let kill_ms = match self.spec.shutdown {
            Shutdown::Timeout(limit) => {
                let limit_ms = turn.now_ms.saturating_add(millis(limit));
                Some(start_deadline_ms.map_or(limit_ms, |deadline_ms| deadline_ms.min(limit_ms)))
            }
            Shutdown::Infinity => start_deadline_ms,
            Shutdown::BrutalKill => None,
        };
        let brutal = self.spec.shutdown == Shutdown::BrutalKill;
        if brutal || late {
            turn.push(Action::KillChild(incarnation));
        } else {
            turn.push(Action::StopChild(incarnation));
        }
        let kill_ms = kill_ms.filter(|_| !late);
        self.state = State::Stopping { since_ms: turn.now_ms, kill: kill_ms.is_some() };
        let log_ms = turn.now_ms.saturating_add(STOP_LOG_INTERVAL_MS);
        self.set_timer(turn, kill_ms.unwrap_or(log_ms));
    }

    /// The life is over, or the wait for the next one is. Gives the state before.
    pub(super) fn end(&mut self, turn: &mut Turn) -> State {
        self.clear_timer(turn);
        std::mem::replace(&mut self.state, State::Down)
    }

    /// Begins to wait for the next attempt, without a timer yet.
    pub(super) fn await_restart(&mut self, delay_ms: u64) {
        self.state = State::Restarting { delay_ms };
    }

    /// Sets the timer of the wait for the next attempt, if it is not set.
    pub(super) fn arm_restart(&mut self, turn: &mut Turn) {
        if let (State::Restarting { delay_ms }, None) = (self.state, self.timer) {
            self.set_timer(turn, turn.now_ms.saturating_add(delay_ms));
        }
    }

    /// Its timer has come. Whether that asks for a restart attempt.
    pub(super) fn timer_fired(&mut self, turn: &mut Turn) -> bool {
        self.timer = None;
        let Some(incarnation) = self.incarnation else { return false };
        match &mut self.state {
            State::Restarting { .. } => {
                self.state = State::Down;
                return true;
            }
            State::Starting { late, .. } if !*late => {
                *late = true;
                turn.push(Action::KillChild(incarnation));
            }
            State::Stopping { kill, .. } if *kill => {
                *kill = false;
                turn.push(Action::KillChild(incarnation));
            }
            State::Starting { deadline_ms: since_ms, .. } | State::Stopping { since_ms, .. } => {
                let waited_ms = turn.now_ms.saturating_sub(*since_ms);
                let id = self.spec.id.clone();
                turn.report(Report::StillStopping { id, incarnation, waited_ms });
            }
            State::Down | State::Running { .. } => return false,
        }
        self.set_timer(turn, turn.now_ms.saturating_add(STOP_LOG_INTERVAL_MS));
        false
    }

    /// Whether a stop that ended like this went as asked.
    pub(super) fn stopped_as_asked(&self, reason: &ExitReason) -> bool {
        let brutal = self.spec.shutdown == Shutdown::BrutalKill;
        reason.is_clean() || brutal && *reason == ExitReason::Signal(SIGKILL)
    }

    fn set_timer(&mut self, turn: &mut Turn, at_ms: u64) {
        self.clear_timer(turn);
        turn.last_timer += 1;
        let token = TimerToken(turn.last_timer);
        self.timer = Some(token);
        turn.push(Action::SetTimer { token, at_ms });
    }

    fn clear_timer(&mut self, turn: &mut Turn) {
        if let Some(token) = self.timer.take() {
            turn.push(Action::CancelTimer(token));
        }
    }
}
