//! Whom Postgres runs as: it refuses root.

use tokio::process::Command;

use crate::Error;
use crate::launch::User;

/// Names the user when we are root.
const VARIABLE: &str = "MILLRACE_POSTGRES_USER";
/// The user that every system has.
const DEFAULT: &str = "nobody";

/// The user to switch to, or `None` when we are a normal user already.
pub(super) async fn to_run_as() -> Result<Option<User>, Error> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let name = std::env::var(VARIABLE).unwrap_or_else(|_| DEFAULT.to_owned());
    let user = User {
        uid: id("-u", &name).await?,
        gid: id("-g", &name).await?,
    };
    if user.uid == 0 {
        return Err(Error::PostgresUser {
            reason: format!("{name} is root"),
        });
    }
    Ok(Some(user))
}

/// Asks `id`, which knows users from every source that the system has.
async fn id(which: &str, name: &str) -> Result<u32, Error> {
    let unknown = |why: String| Error::PostgresUser {
        reason: format!("user {name} cannot be looked up ({why})"),
    };
    let output = Command::new("id")
        .args([which, "--", name])
        .output()
        .await
        .map_err(|error| unknown(error.to_string()))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(unknown(words.trim().to_owned()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .map_err(|_| unknown(format!("id says {}", text.trim())))
}
