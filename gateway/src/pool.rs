//! The replicas of one role, and which of them is asked.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use streams::MISSED_LOOKS_MAX;

use crate::config::{Address, Member};

/// A role of which nobody has answered for so long since the start is away, and not only unknown yet.
const MEET_TIME_MAX: Duration = Duration::from_secs(30);

/// Failures in a row after which a replica is left alone for a while.
const FAILURES_MAX: u32 = 3;

/// How long it is left alone the first time; each time in a row, that much longer.
const EJECTION: Duration = Duration::from_secs(2);

/// Longest that it is left alone.
const EJECTION_MAX: Duration = Duration::from_secs(30);

/// One process that serves a role.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) address: Address,
    /// None named = all.
    contexts: Vec<String>,
    /// Requests that it has not finished.
    outstanding: AtomicUsize,
    /// Says itself that it may be asked.
    ready: AtomicBool,
    /// Says anything at all.
    reached: AtomicBool,
    /// In a row.
    failures: AtomicU32,
    /// Looks in a row that have not found it.
    missed: AtomicUsize,
    ejected_until: Mutex<Option<Instant>>,
}

impl Replica {
    fn new(member: Member) -> Self {
        Self {
            address: member.address,
            contexts: member.contexts,
            outstanding: AtomicUsize::new(0),
            // One that was announced may still be starting: until it has said so itself, those that have are asked.
            ready: AtomicBool::new(false),
            reached: AtomicBool::new(true),
            failures: AtomicU32::new(0),
            missed: AtomicUsize::new(0),
            ejected_until: Mutex::new(None),
        }
    }

    fn serves(&self, context: Option<&str>) -> bool {
        let named = |context| self.contexts.iter().any(|name| name == context);
        self.contexts.is_empty() || context.is_none_or(named)
    }

    /// What `/readyz` said; `None` = nothing.
    pub(crate) fn said(&self, ready: Option<bool>) {
        self.reached.store(ready.is_some(), Ordering::Relaxed);
        let ready = ready.unwrap_or_default();
        if self.ready.swap(ready, Ordering::Relaxed) != ready {
            tracing::info!(replica = %self.address, ready, "a replica has changed");
        }
    }

    /// It has answered.
    pub(crate) fn answered(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// It has not, or it said that the fault was its own.
    pub(crate) fn failed(&self) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(beyond) = failures.checked_sub(FAILURES_MAX) else {
            return;
        };
        let pause = (EJECTION * (beyond + 1)).min(EJECTION_MAX);
        tracing::warn!(replica = %self.address, failures, ?pause, "a replica is left alone");
        metrics::counter!("gateway_ejections_total").increment(1);
        let mut until = self
            .ejected_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *until = Some(Instant::now() + pause);
    }

    fn is_ejected(&self, now: Instant) -> bool {
        let until = self
            .ejected_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| now < until)
    }

    /// What speaks against asking it, the gravest first.
    fn against(&self, context: Option<&str>, tried: &[Address], now: Instant) -> [bool; 4] {
        [
            tried.contains(&self.address),
            !self.serves(context),
            self.is_ejected(now),
            !self.ready.load(Ordering::Relaxed),
        ]
    }
}

/// A replica that was picked; counts as asked until it is dropped.
#[derive(Debug)]
pub(crate) struct Picked(Arc<Replica>);

impl std::ops::Deref for Picked {
    type Target = Replica;

    fn deref(&self) -> &Replica {
        &self.0
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All replicas of one role.
#[derive(Debug)]
pub(crate) struct Pool {
    /// The role, as problems name it.
    pub(crate) role: &'static str,
    /// From the configuration: they stay.
    fixed: Vec<Member>,
    replicas: RwLock<Vec<Arc<Replica>>>,
    /// Those that announce themselves and are not asked, for they talk no TLS.
    refused: Mutex<Vec<Address>>,
    turn: AtomicUsize,
    /// One has answered since this gateway began.
    met: AtomicBool,
    began: tokio::time::Instant,
}

impl Pool {
    pub(crate) fn new(role: &'static str, fixed: &[Member]) -> Self {
        let pool = Self {
            role,
            fixed: fixed.to_vec(),
            replicas: RwLock::default(),
            refused: Mutex::default(),
            turn: AtomicUsize::new(0),
            met: AtomicBool::new(false),
            began: tokio::time::Instant::now(),
        };
        pool.found(Vec::new());
        pool
    }

    /// Takes over who was found besides the fixed ones; who was known before keeps what is known. Who is missed
    /// now and then stays: it is asked how it is, and answers discovery too late when there is much to do.
    pub(crate) fn found(&self, found: Vec<Member>) {
        let mut replicas = self
            .replicas
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let known_or_new = |member: Member| {
            let same = |known: &&Arc<Replica>| {
                known.address == member.address && known.contexts == member.contexts
            };
            let known = replicas.iter().find(same).cloned();
            known.unwrap_or_else(|| Arc::new(Replica::new(member)))
        };
        let mut next: Vec<_> = found.into_iter().map(known_or_new).collect();
        for replica in &next {
            replica.missed.store(0, Ordering::Relaxed);
        }
        let is_in = |all: &[Arc<Replica>], address: &Address| {
            all.iter()
                .any(|other| other.address.authority == address.authority)
        };
        for known in replicas.iter() {
            let missed = || known.missed.fetch_add(1, Ordering::Relaxed);
            if !is_in(&next, &known.address) && missed() < MISSED_LOOKS_MAX {
                next.push(Arc::clone(known));
            }
        }
        for fixed in &self.fixed {
            // What a replica says of itself counts.
            if !is_in(&next, &fixed.address) {
                next.push(known_or_new(fixed.clone()));
            }
        }
        *replicas = next;
    }

    /// Takes note of who announces itself without TLS, so that it isn't asked; tells each once.
    pub(crate) fn refuse(&self, found: Vec<Member>) {
        let found: Vec<Address> = found.into_iter().map(|member| member.address).collect();
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        for replica in found.iter().filter(|address| !refused.contains(address)) {
            tracing::warn!(
                %replica,
                role = self.role,
                "a replica is not asked: it announces itself without TLS (see MILLRACE_APIS_HTTP)"
            );
        }
        let count = u32::try_from(found.len()).unwrap_or(u32::MAX);
        metrics::gauge!("gateway_refused_replicas", "role" => self.role).set(count);
        *refused = found;
    }

    /// All of them were asked how they are.
    pub(crate) fn looked_at(&self) {
        self.met.fetch_or(self.is_reached(), Ordering::Relaxed);
    }

    /// Has one answered since this gateway began, or was there time enough to? Before that there may be some
    /// that it doesn't know.
    pub(crate) fn is_met(&self) -> bool {
        self.met.load(Ordering::Relaxed) || self.began.elapsed() >= MEET_TIME_MAX
    }

    /// Does one answer, ready or not?
    pub(crate) fn is_reached(&self) -> bool {
        self.all()
            .iter()
            .any(|replica| replica.reached.load(Ordering::Relaxed))
    }

    /// How it is: ready as long as one replica is.
    ///
    /// # Errors
    /// Why nobody can be asked, in words.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.is_ready() {
            return Ok(());
        }
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        Err(match refused.len() {
            0 => "no replica is ready".to_owned(),
            some => format!("no replica is ready; without TLS, and so not asked: {some}"),
        })
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Replica>> {
        let replicas = self.replicas.read().unwrap_or_else(PoisonError::into_inner);
        replicas.clone()
    }

    /// Is there one that is ready?
    fn is_ready(&self) -> bool {
        self.all()
            .iter()
            .any(|replica| replica.ready.load(Ordering::Relaxed))
    }

    /// Is there one that serves `context` and is ready, beside `this` one and those that were `tried`?
    pub(crate) fn has_another(
        &self,
        context: Option<&str>,
        this: &Replica,
        tried: &[Address],
    ) -> bool {
        let now = Instant::now();
        let mut others = self
            .all()
            .into_iter()
            .filter(|replica| replica.address != this.address);
        others.any(|replica| replica.against(context, tried, now) == [false; 4])
    }

    /// The replica that serves `context` with the least to do, of equal ones each in turn, that was
    /// not `tried` yet.
    ///
    /// All of this chooses between replicas and never leaves none: one that does not serve a context
    /// carries the command to who does, and a role whose replicas are all unready (its database is
    /// down) still answers what it can, and says itself what it can't.
    pub(crate) fn pick(&self, context: Option<&str>, tried: &[Address]) -> Option<Picked> {
        let now = Instant::now();
        let all = self.all();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = all.len();
        let rank = |(index, replica): &(usize, &Arc<Replica>)| {
            (
                replica.against(context, tried, now),
                replica.outstanding.load(Ordering::Relaxed),
                (index + turn) % count,
            )
        };
        let (_, best) = all.iter().enumerate().min_by_key(rank)?;
        best.outstanding.fetch_add(1, Ordering::Relaxed);
        Some(Picked(Arc::clone(best)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> Member {
        Member {
            address: format!("http://{name}").parse().unwrap(),
            contexts: Vec::new(),
        }
    }

    fn pool(names: &[&str]) -> Pool {
        let fixed: Vec<Member> = names.iter().map(|name| member(name)).collect();
        Pool::new("command-api", &fixed)
    }

    #[test]
    fn a_context_is_asked_of_who_serves_it() {
        let pool = pool(&["a:1"]);
        let some = Member {
            contexts: vec!["user".to_owned()],
            ..member("b:1")
        };
        pool.found(vec![
            some.clone(),
            Member {
                contexts: vec!["order".to_owned()],
                ..member("a:1")
            },
        ]);
        for _ in 0..4 {
            assert_eq!(name(&pool.pick(Some("user"), &[]).unwrap()), "b:1");
            assert_eq!(name(&pool.pick(Some("order"), &[]).unwrap()), "a:1");
        }
        assert!(pool.pick(Some("payment"), &[]).is_some(), "it is carried");
        assert!(pool.pick(None, &[]).is_some());
        for _ in 0..=MISSED_LOOKS_MAX {
            pool.found(vec![some.clone()]);
        }
        assert_eq!(
            name(&pool.pick(Some("payment"), &[]).unwrap()),
            "a:1",
            "as configured"
        );
    }

    #[test]
    fn who_is_missed_in_a_look_stays_as_it_is_known() {
        let pool = pool(&[]);
        let (a, b) = (member("a:1"), member("b:1"));
        pool.found(vec![a.clone(), b.clone()]);
        let b_is = || {
            let all = pool.all();
            all.into_iter().find(|it| it.address == b.address)
        };
        for _ in 0..FAILURES_MAX {
            b_is().unwrap().failed();
        }
        for _ in 0..MISSED_LOOKS_MAX {
            pool.found(vec![a.clone()]);
            assert!(b_is().unwrap().is_ejected(Instant::now()));
        }
        pool.found(vec![a.clone(), b.clone()]);
        assert!(b_is().unwrap().is_ejected(Instant::now()));
        for _ in 0..=MISSED_LOOKS_MAX {
            pool.found(vec![a.clone()]);
        }
        assert!(b_is().is_none(), "it is gone");
    }

    fn name(picked: &Picked) -> String {
        picked.address.authority.to_string()
    }

    #[test]
    fn who_has_the_least_to_do_is_asked() {
        let pool = pool(&["a:1", "b:1"]);
        let first = pool.pick(None, &[]).unwrap();
        let second = pool.pick(None, &[]).unwrap();
        assert_ne!(name(&first), name(&second));
        let (busy, idle) = (name(&first), name(&second));
        drop(second);
        for _ in 0..4 {
            assert_eq!(name(&pool.pick(None, &[]).unwrap()), idle, "not {busy}");
        }
    }

    #[test]
    fn equals_are_asked_in_turn() {
        let pool = pool(&["a:1", "b:1"]);
        let asked: Vec<String> = (0..4)
            .map(|_| name(&pool.pick(None, &[]).unwrap()))
            .collect();
        assert_ne!(asked[0], asked[1]);
        assert_eq!(asked[0], asked[2]);
    }

    #[test]
    fn the_unready_the_failing_and_the_tried_come_last_but_come() {
        let pool = pool(&["a:1", "b:1"]);
        let [a, b] = &pool.all()[..] else { panic!() };
        b.said(Some(true));
        for _ in 0..2 {
            assert_eq!(name(&pool.pick(None, &[]).unwrap()), "b:1", "a is unknown");
        }
        a.said(Some(false));
        assert_eq!(name(&pool.pick(None, &[]).unwrap()), "b:1");
        for _ in 0..FAILURES_MAX {
            b.failed();
        }
        assert_eq!(
            name(&pool.pick(None, &[]).unwrap()),
            "a:1",
            "rather unready than failing"
        );
        let tried = [a.address.clone()];
        assert_eq!(name(&pool.pick(None, &tried).unwrap()), "b:1");
        let tried = [a.address.clone(), b.address.clone()];
        assert!(
            pool.pick(None, &tried).is_some(),
            "rather again than nobody"
        );
    }

    #[test]
    fn one_failure_is_none() {
        let pool = pool(&["a:1"]);
        let a = Arc::clone(&pool.all()[0]);
        for _ in 0..10 {
            a.failed();
            a.failed();
            a.answered();
        }
        assert!(!a.is_ejected(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_for_long_keeps_the_other_side_from_nobody() {
        let pool = pool(&["a:1"]);
        assert!(!pool.is_met());
        tokio::time::advance(MEET_TIME_MAX).await;
        assert!(pool.is_met());
    }

    #[test]
    fn who_is_found_again_is_still_known() {
        let pool = pool(&["a:1"]);
        pool.found(vec![member("b:1")]);
        pool.all()[0].said(None);
        pool.found(vec![member("b:1"), member("c:1")]);
        assert_eq!(pool.all().len(), 3);
        assert!(pool.is_reached());
        for replica in pool.all() {
            replica.said(None);
        }
        assert!(!pool.is_reached());
        pool.looked_at();
        assert!(!pool.is_met(), "nobody has answered yet");
        pool.all()[1].said(Some(false));
        pool.looked_at();
        assert!(pool.is_reached() && pool.check().is_err());
        pool.all()[1].said(None);
        pool.looked_at();
        assert!(pool.is_met() && !pool.is_reached());
        assert!(!pool.all()[0].ready.load(Ordering::Relaxed));
        for _ in 0..=MISSED_LOOKS_MAX {
            pool.found(Vec::new());
        }
        assert_eq!(pool.all().len(), 1, "the fixed one stays");
        assert!(super::Pool::new("query-api", &[]).pick(None, &[]).is_none());
    }
}
