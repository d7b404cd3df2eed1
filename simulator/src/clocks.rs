//! What time it is. The server's clock is set now and then; the roles go by it, but each only asks it
//! every half minute, and can be wrong until it asks again.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use strum::IntoEnumIterator;

use crate::agenda::{MINUTE, SECOND, Time, moment};
use crate::chance::mix;
use crate::fault::Fault;
use crate::world::{Role, World};

/// How often a role asks the server what time it is.
const ASK_INTERVAL: Time = 30 * SECOND;

/// How often the server's clock may be set, and how long before the roles ask it again.
const SET_INTERVAL: Time = 10 * MINUTE;
const SET_BEFORE: Time = 15 * SECOND;

/// How far a clock can be off, either way.
const OFF_MAX: Time = 60 * MINUTE;

/// How far each clock is ahead of what has passed since the run began.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    server: Time,
    /// For how many of its intervals it is known whether the server's was set.
    set: Time,
    roles: BTreeMap<Role, Time>,
    /// In which of its intervals the roles asked last.
    asked: Time,
}

impl World {
    /// Has a clock been set, or does one go wrong or right again by now?
    pub(crate) fn clocks_go_on(&mut self) {
        let now = self.agenda.now();
        while self.clocks.set < (now + SET_BEFORE) / SET_INTERVAL {
            self.clocks.set += 1;
            let site = mix([17, self.clocks.set.unsigned_abs()]);
            if self.strikes(Fault::ClockSet, site) {
                self.clocks.server = self.off(site);
                let ahead = self.clocks.server / SECOND;
                self.tell("nats", || format!("✗ its clock is set, to {ahead} s ahead"));
            }
        }
        let asked = now / ASK_INTERVAL;
        if std::mem::replace(&mut self.clocks.asked, asked) == asked {
            return;
        }
        for role in Role::iter() {
            let site = mix([18, role as u64, asked.unsigned_abs()]);
            let mut ahead = self.clocks.server;
            if self.strikes(Fault::ClockOff, site) {
                ahead = self.off(site);
                let seconds = ahead / SECOND;
                self.tell("clocks", || {
                    format!("✗ {role:?} role's is {seconds} s ahead")
                });
            }
            self.clocks.roles.insert(role, ahead);
        }
    }

    fn off(&self, site: u64) -> Time {
        self.chance_of(site, 12, 2 * OFF_MAX + 1) - OFF_MAX
    }

    /// As the server counts it.
    pub(crate) fn server_time(&self) -> Time {
        self.agenda.now() + self.clocks.server
    }

    /// As a role counts it.
    pub(crate) fn time_by(&self, role: Role) -> Time {
        let ahead = self.clocks.roles.get(&role);
        self.agenda.now() + ahead.copied().unwrap_or_default()
    }

    /// As a role writes it.
    pub(crate) fn now_by(&self, role: Role) -> DateTime<Utc> {
        moment(self.time_by(role))
    }
}
