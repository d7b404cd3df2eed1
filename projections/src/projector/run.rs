//! Several projectors in one process.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::BoxFuture;
use streams::{Connection, chain};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Config, Projector, ProjectorError, Settings, Standing};
use crate::login::Login;

/// Pause after the first failure, doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(100);

/// Longest pause between tries. There is no last try: databases come back.
const RETRY_MAX: Duration = Duration::from_secs(5);

impl Projector {
    /// Takes in one batch after another until told to stop, or until all is taken in that it is to.
    ///
    /// # Errors
    /// Every view of the context has stopped. Postgres or NATS being away is waited for.
    pub fn run(
        mut self,
        shutdown: CancellationToken,
    ) -> BoxFuture<'static, Result<(), ProjectorError>> {
        Box::pin(async move {
            let mut failures = 0_u32;
            loop {
                let step = tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return Ok(()),
                    step = self.step() => step,
                };
                let pause = match step {
                    Ok(stepped) if stepped.ended => return Ok(()),
                    Ok(stepped) if stepped.standing_by => {
                        tracing::info!(context = self.context, "another projector is at work");
                        self.settings.standby
                    }
                    Ok(_) => {
                        failures = 0;
                        continue;
                    }
                    Err(error) if error.is_final() => {
                        self.standing.waits_no_more(self.context);
                        return Err(error);
                    }
                    Err(error) => {
                        failures = failures.saturating_add(1);
                        let pause = pause(failures);
                        let cause = chain(&error);
                        tracing::warn!(context = self.context, cause, ?pause, "projector waits");
                        self.standing.waits(self.context, cause);
                        pause
                    }
                };
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    () = tokio::time::sleep(pause) => {}
                }
            }
        })
    }
}

/// Runs the projectors of the contexts that `config` names, all when it names none. `databases`
/// has a writer's login for each of them, by context.
///
/// A context whose views have all stopped is reported and leaves the others alone. `standing` is told what
/// each waits for.
///
/// # Errors
/// A context is unknown or has no login; or, at the end, the first that had stopped. It ends
/// before `shutdown` only when all have.
pub fn run(
    config: Config,
    log: Connection,
    mut databases: BTreeMap<String, Login>,
    (standing, shutdown): (Standing, CancellationToken),
) -> BoxFuture<'static, Result<(), ProjectorError>> {
    Box::pin(async move {
        let settings = Settings::from(&config);
        let named = if config.contexts.is_empty() {
            crate::contexts().into_iter().map(str::to_owned).collect()
        } else {
            config.contexts
        };
        let mut projectors = Vec::new();
        for context in &named {
            // The name is checked before the login, which would be missing as well.
            let known = crate::views_of(context).first().map(|view| view.context);
            let login = databases.remove(context);
            let projector = match (known, login) {
                (Some(context), None) => return Err(ProjectorError::NoLogin { context }),
                (Some(_), Some(login)) => Projector::new(context, log.clone(), login, settings)?,
                (None, _) => {
                    return Err(ProjectorError::UnknownContext {
                        context: context.clone(),
                        known: crate::contexts().join(", "),
                    });
                }
            };
            projectors.push(projector.watched(&standing));
        }
        let mut running = JoinSet::new();
        for projector in projectors {
            running.spawn(projector.run(shutdown.clone()));
        }
        let mut first = Ok(());
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => first = first.and(Err(error)),
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            }
        }
        first
    })
}

/// The pause before the next try, after so many failures in a row.
fn pause(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
    RETRY_FIRST.saturating_mul(doubled).min(RETRY_MAX)
}
