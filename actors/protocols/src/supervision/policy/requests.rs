//! What callers ask of a supervisor, and when it is served.
//!
//! Owns the waiting line and the meaning of each request. It moves single children
//! and never begins a restart; phases and strategies are `policy`'s, one level up.
//!
//! A request is served when no group moves and its own child neither starts nor
//! stops. Requests for one child are so served in the order in which they came;
//! those for different children do not hold each other up. A stop of the whole never waits.

use super::super::child::Child;
use super::super::event::{ChildRef, Incarnation};
use super::{
    Action, ChildSpec, MAX_WAITING_REQUESTS, Phase, Request, RequestError, RequestId, Response,
    State, Strategy, Supervisor, SupervisorExit,
};

impl Supervisor {
    pub(super) fn stop(&mut self, request: RequestId) {
        if self.phase == Phase::Done {
            self.reply(request, Ok(Response::Done));
        } else if self.stop_requests.len() == MAX_WAITING_REQUESTS {
            self.reply(request, Err(RequestError::Busy));
        } else {
            self.stop_requests.push(request);
            self.begin_stop(SupervisorExit::Shutdown);
        }
    }

    pub(super) fn request(&mut self, request: RequestId, what: Request) {
        if matches!(self.phase, Phase::Stopping | Phase::Done) {
            self.reply(request, Err(RequestError::ShuttingDown));
        } else if self.waiting.len() == MAX_WAITING_REQUESTS {
            self.reply(request, Err(RequestError::Busy));
        } else {
            self.waiting.push_back((request, what));
        }
    }

    /// Serves the first request whose time has come, if there is one.
    pub(super) fn serve_next(&mut self) -> bool {
        if self.phase != Phase::Idle || !self.started {
            return false;
        }
        let next = self.waiting.iter().position(|(_, what)| {
            self.child_of(what).is_none_or(|i| !self.children[i].is_moving())
        });
        let Some((request, what)) = next.and_then(|next| self.waiting.remove(next)) else {
            return false;
        };
        match what {
            Request::StartChild(spec) => self.add(request, *spec),
            Request::StartDynamic => self.add_dynamic(request),
            Request::TerminateChild(target) => match self.find(&target) {
                Ok(i) => self.terminate(request, i),
                Err(error) => self.reply(request, Err(error)),
            },
            Request::RestartChild(id) => match self.find_down(&id) {
                Ok(i) => self.start_for(request, i),
                Err(error) => self.reply(request, Err(error)),
            },
            Request::DeleteChild(id) => match self.find_down(&id) {
                Ok(i) => {
                    let incarnation = self.children.remove(i).incarnation;
                    self.turn.push(Action::Forget { id, incarnation });
                    self.reply(request, Ok(Response::Done));
                }
                Err(error) => self.reply(request, Err(error)),
            },
        }
        true
    }

    fn add(&mut self, request: RequestId, spec: ChildSpec) {
        let answer = match self.find_id(&spec.id) {
            Ok(i) if self.children[i].state == State::Down => RequestError::AlreadyPresent,
            Ok(i) => RequestError::AlreadyStarted(self.children[i].incarnation),
            Err(RequestError::NotFound) => match spec.check(self.auto_shutdown) {
                Ok(()) => return self.add_checked(request, spec),
                Err(error) => error.into(),
            },
            Err(error) => error,
        };
        self.reply(request, Err(answer));
    }

    fn add_dynamic(&mut self, request: RequestId) {
        match (&self.template, self.strategy) {
            (Some(_), Strategy::Dynamic { max_children })
                if self.children.len() >= max_children =>
            {
                self.reply(request, Err(RequestError::MaxChildren(max_children)));
            }
            (Some(template), _) => self.add_checked(request, template.clone()),
            (None, _) => self.reply(request, Err(RequestError::WrongStrategy)),
        }
    }

    fn add_checked(&mut self, request: RequestId, spec: ChildSpec) {
        let mut child = Child::new(spec);
        child.adding = true;
        self.children.push(child);
        self.start_for(request, self.children.len() - 1);
    }

    fn start_for(&mut self, request: RequestId, i: usize) {
        self.children[i].request = Some(request);
        self.children[i].start(&mut self.turn);
    }

    fn terminate(&mut self, request: RequestId, i: usize) {
        let child = &mut self.children[i];
        child.request = Some(request);
        child.due = false;
        child.restarts = 0;
        if child.is_alive() {
            child.stop(&mut self.turn);
        } else {
            child.end(&mut self.turn);
            self.stopped(i);
        }
    }

    fn find(&self, target: &ChildRef) -> Result<usize, RequestError> {
        match target {
            ChildRef::Id(id) => self.find_id(id),
            ChildRef::Incarnation(incarnation) => self.find_dynamic(*incarnation),
        }
    }

    fn find_id(&self, id: &str) -> Result<usize, RequestError> {
        if self.dynamic() {
            return Err(RequestError::WrongStrategy);
        }
        self.children.iter().position(|c| c.spec.id == id).ok_or(RequestError::NotFound)
    }

    fn find_dynamic(&self, incarnation: Incarnation) -> Result<usize, RequestError> {
        if !self.dynamic() {
            return Err(RequestError::WrongStrategy);
        }
        let found = self.children.iter().position(|c| c.incarnation == Some(incarnation));
        found.ok_or(RequestError::NotFound)
    }

    fn find_down(&self, id: &str) -> Result<usize, RequestError> {
        let i = self.find_id(id)?;
        match self.children[i].state {
            State::Down => Ok(i),
            State::Restarting { .. } => Err(RequestError::Restarting),
            _ => Err(RequestError::Running),
        }
    }

    /// The child that a request is about, if it is there.
    fn child_of(&self, what: &Request) -> Option<usize> {
        match what {
            Request::StartChild(spec) => self.find_id(&spec.id).ok(),
            Request::TerminateChild(target) => self.find(target).ok(),
            Request::RestartChild(id) | Request::DeleteChild(id) => self.find_id(id).ok(),
            Request::StartDynamic => None,
        }
    }

    fn reply(&mut self, request: RequestId, answer: Result<Response, RequestError>) {
        self.turn.push(Action::Reply(request, answer));
    }
}
