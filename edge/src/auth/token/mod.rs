//! Access tokens: made by [`Signer`], checked by [`Verifier`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation};
use kernel::UserId;
use moka::sync::Cache;
use ring::digest::{SHA256, digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::keys::{Key, KeySet};
use super::{Principal, crypto};

/// Who makes the tokens (`iss`).
pub const ISSUER: &str = "millrace";

/// Whom they are for (`aud`).
pub const AUDIENCE: &str = "millrace-api";

/// How long an access token lives, in seconds.
pub const ACCESS_TOKEN_TIME_S: i64 = 15 * 60;

/// What kind of token (RFC 9068): a token made for something else is not taken for one of these.
const TOKEN_TYPE: &str = "at+jwt";

/// How far the clocks of who made a token and who checks it may be apart, in seconds.
const LEEWAY_S: i64 = 5;

/// How long a token is accepted from when it was made, in seconds.
pub const TOKEN_COUNTS_S: i64 = ACCESS_TOKEN_TIME_S + LEEWAY_S;

/// How long it is remembered that a token was withdrawn, in seconds from when that was heard.
const WITHDRAWN_TIME_S: i64 = TOKEN_COUNTS_S + LEEWAY_S + 1;

/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// Most verified tokens that are remembered.
const VERIFIED_MAX: usize = 10_000;

/// Most people whose tokens were withdrawn in the time that a token lives.
const WITHDRAWN_MAX: u64 = 100_000;

/// Tells the time: one that all go by who make and check tokens.
pub type Clock = fn() -> DateTime<Utc>;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    #[serde(default)]
    roles: Vec<String>,
    /// With spaces between them (RFC 8693 §4.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: Uuid,
    /// How many events the account had when it was looked at to make the token; none of those that were
    /// made without looking at one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account_version: Option<u64>,
}

/// A token that was just made.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Token {
    /// The token itself.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// Its life, in seconds.
    pub expires_in: i64,
}

/// A token could not be made: the key was not taken.
#[derive(Debug, Error)]
#[error("the token can't be signed")]
pub struct SignError(#[source] jsonwebtoken::errors::Error);

/// Makes tokens with the newest key whose time has come, of those that there are by then.
#[derive(Clone)]
pub struct Signer {
    keys: KeySet,
    clock: Clock,
}

impl Signer {
    /// With `keys`, by `clock`.
    pub fn new(keys: &KeySet, clock: Clock) -> Self {
        crypto::install();
        Self {
            keys: keys.clone(),
            clock,
        }
    }

    /// A token for `principal`, good for [`ACCESS_TOKEN_TIME_S`] from now.
    ///
    /// # Errors
    /// The key was not taken.
    pub fn sign(&self, principal: &Principal) -> Result<Token, SignError> {
        self.make(principal, None)
    }

    /// The same for who has signed in to an account that had `version` events: it counts no longer once
    /// something withdraws it that the account has learned behind them, however near in time that is.
    ///
    /// # Errors
    /// The key was not taken.
    pub fn sign_as_of(&self, principal: &Principal, version: u64) -> Result<Token, SignError> {
        self.make(principal, Some(version))
    }

    fn make(
        &self,
        principal: &Principal,
        account_version: Option<u64>,
    ) -> Result<Token, SignError> {
        let now = (self.clock)();
        let keys = self.keys.all();
        let key = due(&keys, now).ok_or_else(|| SignError(ErrorKind::InvalidKeyFormat.into()))?;
        let header = Header {
            typ: Some(TOKEN_TYPE.to_owned()),
            kid: Some(key.kid.clone()),
            ..Header::new(Algorithm::EdDSA)
        };
        let now = now.timestamp();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: principal.user_id,
            roles: principal.roles.clone(),
            scope: principal.scopes.as_ref().map(|scopes| scopes.join(" ")),
            iat: now,
            nbf: now,
            exp: now + ACCESS_TOKEN_TIME_S,
            jti: Uuid::new_v4(),
            account_version,
        };
        let access_token = jsonwebtoken::encode(&header, &claims, &key.signs).map_err(SignError)?;
        Ok(Token {
            access_token,
            token_type: "Bearer",
            expires_in: ACCESS_TOKEN_TIME_S,
        })
    }
}

/// The one to sign with; the oldest, when none has its time yet.
fn due(keys: &[Key], now: DateTime<Utc>) -> Option<&Key> {
    let mut newest = keys.iter().rev();
    let due = newest.find(|key| key.signs_from.is_none_or(|from| from <= now));
    due.or(keys.first())
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenError {
    /// No JWT, too long, another algorithm, another kind of token, or no `kid`.
    #[error("it is no token of this API")]
    Malformed,
    /// Signed by a key that isn't published here, or not by it.
    #[error("its signature is not one of ours")]
    Forged,
    /// Its time is over, or has not come.
    #[error("it has expired")]
    Expired,
    /// For another audience, or from another issuer.
    #[error("it was made for something else")]
    Misdirected,
    /// Made before its person was barred, or had another password.
    #[error("it was withdrawn: sign in again")]
    Withdrawn,
    /// Whether it was withdrawn is still being read: ask again in a moment.
    #[error("it is not known yet whether it was withdrawn")]
    NotKnownYet,
}

impl TokenError {
    /// For a metric's label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Forged => "forged",
            Self::Expired => "expired",
            Self::Misdirected => "misdirected",
            Self::Withdrawn => "withdrawn",
            Self::NotKnownYet => "not_known_yet",
        }
    }
}

/// Checks tokens. Cheap to clone; what was verified is remembered (as a hash) until it expires, by
/// all clones together.
#[derive(Clone)]
pub struct Verifier {
    keys: KeySet,
    validation: Arc<Validation>,
    clock: Clock,
    verified: Arc<quick_cache::sync::Cache<[u8; 32], Verified>>,
    /// Whose tokens count no longer when they were made before this.
    barred: Cache<UserId, Withdrawal>,
    /// Whose tokens give no role any more when they were made before this.
    stripped: Cache<UserId, Withdrawal>,
    /// Is all known that was withdrawn before?
    knows: Arc<AtomicBool>,
}

/// What withdrew tokens: the event of an account with this version, at this second since 1970.
#[derive(Clone, Copy)]
struct Withdrawal {
    version: u64,
    second: i64,
}

impl Withdrawal {
    /// Was the token made before? Of one that doesn't tell what it was made of, whatever was made in the
    /// same second counts as before.
    fn is_after(self, token: &Verified) -> bool {
        match token.account_version {
            Some(known) => known < self.version,
            None => token.made <= self.second,
        }
    }
}

/// What a good token says. Times are in seconds since 1970.
#[derive(Clone)]
struct Verified {
    principal: Principal,
    /// What it was signed with.
    kid: String,
    made: i64,
    account_version: Option<u64>,
    expires: i64,
}

impl Verifier {
    /// With all of `keys` that there are by then, by `clock`.
    pub fn new(keys: &KeySet, clock: Clock) -> Self {
        crypto::install();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp", "nbf"]);
        // The library knows this machine's clock only: see `is_now`.
        validation.validate_exp = false;
        Self {
            keys: keys.clone(),
            validation: Arc::new(validation),
            clock,
            verified: Arc::new(quick_cache::sync::Cache::new(VERIFIED_MAX)),
            barred: as_long_as_a_token(WITHDRAWN_MAX),
            stripped: as_long_as_a_token(WITHDRAWN_MAX),
            knows: Arc::new(AtomicBool::new(true)),
        }
    }

    /// No token counts before it is known which were withdrawn, which [`Verifier::knows`] says.
    pub fn reads(&self) {
        self.knows.store(false, Ordering::Release);
    }

    /// Whatever was withdrawn before is known from now on.
    pub fn knows(&self) {
        self.knows.store(true, Ordering::Release);
    }

    /// The event `version` of `person`, at `second` (since 1970), bars them: what they got before counts no
    /// longer.
    pub fn bar(&self, person: UserId, version: u64, second: i64) {
        later(&self.barred, person, Withdrawal { version, second });
    }

    /// The event `version` of `person`, at `second`, takes a role: what they got before gives none any more.
    pub fn strip(&self, person: UserId, version: u64, second: i64) {
        later(&self.stripped, person, Withdrawal { version, second });
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// It is not one of ours, or not now.
    pub fn verify(&self, token: &str) -> Result<Principal, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let known = hash(token);
        if let Some(verified) = self.verified.get(&known) {
            if !self.has(&verified.kid) {
                return Err(TokenError::Forged);
            }
            if self.is_over(verified.expires) {
                self.verified.remove(&known);
                return Err(TokenError::Expired);
            }
            return self.as_of_now(verified);
        }
        let (kid, claims) = self.check(token)?;
        let verified = Verified {
            principal: Principal {
                user_id: claims.sub,
                roles: claims.roles,
                scopes: claims.scope.map(|scope| {
                    let scopes = scope.split_ascii_whitespace();
                    scopes.map(str::to_owned).collect()
                }),
            },
            kid,
            made: claims.iat,
            account_version: claims.account_version,
            expires: claims.exp,
        };
        self.verified.insert(known, verified.clone());
        self.as_of_now(verified)
    }

    /// What is left of it after all that was withdrawn.
    fn as_of_now(&self, verified: Verified) -> Result<Principal, TokenError> {
        if !self.knows.load(Ordering::Acquire) {
            return Err(TokenError::NotKnownYet);
        }
        let counts_no_longer = |withdrawn: &Cache<UserId, Withdrawal>| {
            let by = withdrawn.get(&verified.principal.user_id);
            by.is_some_and(|by| by.is_after(&verified))
        };
        if counts_no_longer(&self.barred) {
            return Err(TokenError::Withdrawn);
        }
        let no_roles = counts_no_longer(&self.stripped);
        let mut principal = verified.principal;
        if no_roles {
            principal.roles.clear();
        }
        Ok(principal)
    }

    /// Does the key still count?
    fn has(&self, kid: &str) -> bool {
        self.keys.all().iter().any(|key| key.kid == kid)
    }

    /// What a token says, and by which key.
    fn check(&self, token: &str) -> Result<(String, Claims), TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.alg != Algorithm::EdDSA || header.typ.as_deref() != Some(TOKEN_TYPE) {
            return Err(TokenError::Malformed);
        }
        let kid = header.kid.ok_or(TokenError::Malformed)?;
        let keys = self.keys.all();
        let key = keys.iter().find(|key| key.kid == kid);
        let key = key.ok_or(TokenError::Forged)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.verifies, &self.validation)
            .map_err(|error| refused(error.kind()))?
            .claims;
        if self.is_now(&claims) {
            Ok((kid, claims))
        } else {
            Err(TokenError::Expired)
        }
    }

    fn is_now(&self, claims: &Claims) -> bool {
        let now = (self.clock)().timestamp();
        claims.nbf <= now + LEEWAY_S && !self.is_over(claims.exp)
    }

    /// Asked of a token at its first look and at every other: it must not come and go.
    fn is_over(&self, expires: i64) -> bool {
        expires < (self.clock)().timestamp() - LEEWAY_S
    }
}

/// Forgets what is older than any token that still counts, by a clock that is as much ahead as one may be: a token
/// counts to the end of its last second.
fn as_long_as_a_token<K, V>(capacity: u64) -> Cache<K, V>
where
    K: std::hash::Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let life = WITHDRAWN_TIME_S.unsigned_abs();
    Cache::builder()
        .max_capacity(capacity)
        .time_to_live(Duration::from_secs(life))
        .build()
}

fn later(withdrawn: &Cache<UserId, Withdrawal>, person: UserId, by: Withdrawal) {
    let before = withdrawn.get(&person).unwrap_or(by);
    let last = Withdrawal {
        version: before.version.max(by.version),
        second: before.second.max(by.second),
    };
    withdrawn.insert(person, last);
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's kinds are open-ended; whatever else it finds makes the token malformed"
)]
fn refused(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Forged,
        ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience => TokenError::Misdirected,
        _ => TokenError::Malformed,
    }
}

fn hash(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    for (byte, from) in hash
        .iter_mut()
        .zip(digest(&SHA256, token.as_bytes()).as_ref())
    {
        *byte = *from;
    }
    hash
}

#[cfg(test)]
mod tests;
