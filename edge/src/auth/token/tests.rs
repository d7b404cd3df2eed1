//! Attacks on tokens (RFC 8725): each is refused, and for its own reason.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;

struct Api {
    signer: Signer,
    verifier: Verifier,
    keys: KeySet,
    _folder: tempfile::TempDir,
}

fn api() -> Api {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeySet::create_if_missing(&folder.path().join("jwt")).unwrap();
    Api {
        signer: Signer::new(&keys, Utc::now),
        verifier: Verifier::new(&keys, Utc::now),
        keys,
        _folder: folder,
    }
}

fn principal() -> Principal {
    Principal {
        user_id: UserId(Uuid::from_u128(7)),
        roles: vec!["operator".to_owned()],
        scopes: None,
    }
}

fn claims() -> Value {
    let now = Utc::now().timestamp();
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": Uuid::from_u128(7), "roles": [],
        "iat": now, "nbf": now, "exp": now + 60, "jti": Uuid::nil(),
    })
}

impl Api {
    /// Signs whatever is asked with the right key.
    fn forge(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let pair = ring::signature::Ed25519KeyPair::from_pkcs8(self.keys.all()[0].signs.as_bytes())
            .unwrap();
        let signature = URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    fn header(&self) -> Value {
        json!({"alg": "EdDSA", "typ": "at+jwt", "kid": self.keys.all()[0].kid})
    }

    fn with_claim(&self, name: &str, value: Value) -> Result<Principal, TokenError> {
        let mut claims = claims();
        claims[name] = value;
        self.verifier.verify(&self.forge(&self.header(), &claims))
    }
}

#[test]
fn a_token_tells_its_principal_also_from_the_cache() {
    let api = api();
    let token = api.signer.sign(&principal()).unwrap();
    assert_eq!((token.token_type, token.expires_in), ("Bearer", 900));
    for _ in 0..2 {
        assert_eq!(api.verifier.verify(&token.access_token), Ok(principal()));
    }
    assert_eq!(api.verifier.verified.iter().count(), 1);
}

#[test]
fn a_token_tells_what_it_is_good_for_alone() {
    let api = api();
    for scopes in [None, Some(vec![]), Some(vec!["orders:read".to_owned()])] {
        let principal = Principal {
            scopes,
            ..principal()
        };
        let token = api.signer.sign(&principal).unwrap().access_token;
        assert_eq!(api.verifier.verify(&token), Ok(principal));
    }
}

#[test]
fn a_key_verifies_before_it_signs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("jwt");
    let before = KeySet::create_if_missing(&folder).unwrap();
    let in_an_hour = Utc::now() + chrono::TimeDelta::hours(1);
    KeySet::add(&folder, in_an_hour).unwrap();
    let restarted = KeySet::load(&folder).unwrap();
    let signer = Signer::new(&restarted, Utc::now);
    let keys = restarted.all();
    let kid = |now| due(&keys, now).unwrap().kid.clone();
    assert_eq!(
        kid(Utc::now()),
        before.all()[0].kid,
        "its time has not come"
    );
    assert_eq!(kid(in_an_hour), keys[1].kid);
    let token = signer.sign(&principal()).unwrap();
    let not_restarted = Verifier::new(&before, Utc::now);
    assert_eq!(not_restarted.verify(&token.access_token), Ok(principal()));
    assert!(Verifier::new(&restarted, Utc::now).has(&keys[1].kid));
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_added_and_taken_away_meanwhile_count() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("jwt");
    let keys = KeySet::create_if_missing(&folder).unwrap();
    let (signer, verifier) = (Signer::new(&keys, Utc::now), Verifier::new(&keys, Utc::now));
    tokio::spawn(keys.clone().follow(CancellationToken::new()));
    let old = signer.sign(&principal()).unwrap().access_token;
    let added = KeySet::add(&folder, Utc::now()).unwrap();
    let becomes = async |count: usize| {
        while keys.all().len() != count {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    becomes(2).await;
    let new = signer.sign(&principal()).unwrap().access_token;
    assert_ne!(signed_by(&old), signed_by(&new));
    assert_eq!(verifier.verify(&old), Ok(principal()));
    std::fs::remove_file(folder.join("0001.json")).unwrap();
    becomes(1).await;
    assert_eq!(verifier.verify(&old), Err(TokenError::Forged), "remembered");
    assert_eq!(verifier.verify(&new), Ok(principal()));
    // None at all is a mistake, and changes nothing.
    std::fs::remove_file(&added).unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(verifier.verify(&new), Ok(principal()));
}

/// The head of a token, which names its key.
fn signed_by(token: &str) -> &str {
    token.split('.').next().unwrap()
}

#[test]
fn a_cached_token_expires_all_the_same() {
    let api = api();
    let token = api.signer.sign(&principal()).unwrap().access_token;
    let past = Utc::now().timestamp() - LEEWAY_S - 1;
    api.verifier.verified.insert(
        hash(&token),
        Verified {
            principal: principal(),
            kid: api.keys.all()[0].kid.clone(),
            made: past,
            account_version: None,
            expires: past,
        },
    );
    assert_eq!(api.verifier.verify(&token), Err(TokenError::Expired));
}

#[test]
fn a_token_that_has_just_expired_is_taken_or_refused_each_time_the_same() {
    let api = api();
    let ago = |seconds: i64| json!(Utc::now().timestamp() - seconds);
    for (seconds, expected) in [
        (LEEWAY_S - 2, Ok(())),
        (LEEWAY_S + 1, Err(TokenError::Expired)),
    ] {
        let mut claims = claims();
        claims["exp"] = ago(seconds);
        let token = api.forge(&api.header(), &claims);
        let answers = [(); 4].map(|()| api.verifier.verify(&token).map(|_| ()));
        assert_eq!(answers, [expected; 4], "{seconds} s");
    }
}

#[test]
fn no_algorithm_and_other_algorithms_are_refused() {
    let api = api();
    for algorithm in ["none", "None", "HS256", "RS256", "ES256"] {
        let mut header = api.header();
        header["alg"] = json!(algorithm);
        let token = api.forge(&header, &claims());
        assert_eq!(
            api.verifier.verify(&token),
            Err(TokenError::Malformed),
            "{algorithm}"
        );
        let (unsigned, _signature) = token.rsplit_once('.').unwrap();
        let unsigned = format!("{unsigned}.");
        assert_eq!(
            api.verifier.verify(&unsigned),
            Err(TokenError::Malformed),
            "{algorithm}"
        );
    }
}

#[test]
fn the_key_must_be_named_and_ours() {
    let api = api();
    let mut header = api.header();
    header.as_object_mut().unwrap().remove("kid");
    let nameless = api.forge(&header, &claims());
    assert_eq!(api.verifier.verify(&nameless), Err(TokenError::Malformed));
    header["kid"] = json!("another");
    let unknown = api.forge(&header, &claims());
    assert_eq!(api.verifier.verify(&unknown), Err(TokenError::Forged));
    // Another key under our key's name.
    let stranger = super::tests::api();
    let foreign = stranger.forge(&api.header(), &claims());
    assert_eq!(api.verifier.verify(&foreign), Err(TokenError::Forged));
}

#[test]
fn another_kind_of_token_is_refused() {
    let api = api();
    let mut header = api.header();
    header["typ"] = json!("JWT");
    let token = api.forge(&header, &claims());
    assert_eq!(api.verifier.verify(&token), Err(TokenError::Malformed));
}

#[test]
fn tampering_is_noticed() {
    let api = api();
    let token = api.signer.sign(&principal()).unwrap().access_token;
    let mut parts: Vec<_> = token.split('.').map(str::to_owned).collect();
    let mut more = claims();
    more["roles"] = json!(["operator"]);
    parts[1] = URL_SAFE_NO_PAD.encode(more.to_string());
    assert_eq!(
        api.verifier.verify(&parts.join(".")),
        Err(TokenError::Forged)
    );
}

#[test]
fn time_audience_and_issuer_count() {
    let api = api();
    let now = Utc::now().timestamp();
    assert!(api.with_claim("exp", json!(now + 60)).is_ok());
    for (claim, value, error) in [
        ("exp", json!(now - 60), TokenError::Expired),
        ("nbf", json!(now + 60), TokenError::Expired),
        ("aud", json!("another-api"), TokenError::Misdirected),
        ("iss", json!("another"), TokenError::Misdirected),
        ("exp", Value::Null, TokenError::Malformed),
        ("exp", json!("never"), TokenError::Malformed),
        ("sub", json!("nobody"), TokenError::Malformed),
    ] {
        let result = api.with_claim(claim, value.clone());
        assert_eq!(result, Err(error), "{claim} {value}");
    }
}

#[test]
fn a_token_is_made_and_checked_by_the_clock_that_is_given() {
    let api = api();
    let behind: Clock = || Utc::now() - chrono::TimeDelta::hours(1);
    let token = Signer::new(&api.keys, behind).sign(&principal()).unwrap();
    let token = token.access_token;
    let verifier = Verifier::new(&api.keys, behind);
    for _ in 0..2 {
        assert_eq!(verifier.verify(&token), Ok(principal()));
        assert_eq!(api.verifier.verify(&token), Err(TokenError::Expired));
    }
}

#[test]
fn nonsense_is_no_token() {
    let api = api();
    let long = "a".repeat(TOKEN_BYTES_MAX + 1);
    for bad in ["", ".", "..", "a.b", "a.b.c.d", "\u{0}", long.as_str()] {
        assert_eq!(
            api.verifier.verify(bad),
            Err(TokenError::Malformed),
            "{bad:.10}"
        );
    }
}

#[test]
fn what_was_withdrawn_counts_no_longer_and_what_came_later_does() {
    let api = api();
    let sign = |roles: &[&str]| {
        let roles = roles.iter().map(ToString::to_string).collect();
        let principal = Principal {
            roles,
            ..principal()
        };
        api.signer.sign(&principal).unwrap().access_token
    };
    let (plain, operator) = (sign(&[]), sign(&["operator"]));
    let now = Utc::now().timestamp();
    assert!(api.verifier.verify(&operator).unwrap().is_operator());
    let other = UserId(uuid::Uuid::from_u128(99));
    api.verifier.bar(other, 9, now);
    api.verifier.strip(principal().user_id, 9, now - 60);
    assert!(api.verifier.verify(&operator).unwrap().is_operator());
    // Also what is remembered, and what is seen for the first time.
    api.verifier.strip(principal().user_id, 9, now);
    assert!(!api.verifier.verify(&operator).unwrap().is_operator());
    api.verifier.bar(principal().user_id, 9, now);
    api.verifier.bar(principal().user_id, 9, now - 60);
    for token in [&plain, &operator] {
        assert_eq!(api.verifier.verify(token), Err(TokenError::Withdrawn));
    }
}

#[test]
fn a_token_that_tells_what_it_was_made_of_is_not_judged_by_the_clock() {
    let api = api();
    let as_of = |version| {
        let token = api.signer.sign_as_of(&principal(), version).unwrap();
        token.access_token
    };
    let (before, after) = (as_of(4), as_of(5));
    // Long ago, or to come: who had signed in before the account's fifth event is out, and nobody else.
    for second in [Utc::now().timestamp() - 60, Utc::now().timestamp() + 60] {
        api.verifier.bar(principal().user_id, 5, second);
        assert_eq!(api.verifier.verify(&before), Err(TokenError::Withdrawn));
        assert_eq!(api.verifier.verify(&after), Ok(principal()));
    }
}

#[test]
fn nobody_is_told_who_they_are_before_it_is_known_what_was_withdrawn() {
    let api = api();
    let token = api.signer.sign(&principal()).unwrap().access_token;
    assert_eq!(api.verifier.verify(&token), Ok(principal()));
    api.verifier.reads();
    let recorder = PrometheusBuilder::new().build_recorder();
    let asks = |token: &str| {
        let asked = axum::http::Request::get("/");
        let asked = asked.header("authorization", format!("Bearer {token}"));
        let (asked, ()) = asked.body(()).unwrap().into_parts();
        metrics::with_local_recorder(&recorder, || {
            Principal::of_request(&asked, &api.verifier).unwrap_err()
        })
    };
    let refused = asks(&token);
    assert_eq!(refused.status, 503);
    let counted = || recorder.handle().render();
    assert!(!counted().contains("tokens_refused_total"), "{}", counted());
    assert_eq!(asks("no token").status, 401);
    let one = "tokens_refused_total{reason=\"malformed\"} 1";
    assert!(counted().contains(one), "{}", counted());
    assert!(refused.retry_after.is_some(), "it is a matter of moments");
    assert_eq!(
        api.verifier.verify("no token"),
        Err(TokenError::Malformed),
        "that is known of it"
    );
    api.verifier.knows();
    assert_eq!(api.verifier.verify(&token), Ok(principal()));
}

#[test]
fn what_was_withdrawn_is_known_for_longer_than_any_token_counts() {
    let api = api();
    let now = Utc::now().timestamp();
    // Made by a clock that is ahead, and accepted to the end of its last second.
    let last = now + LEEWAY_S + ACCESS_TOKEN_TIME_S + LEEWAY_S + 1;
    let life = api.verifier.barred.policy().time_to_live().unwrap();
    assert!(now + i64::try_from(life.as_secs()).unwrap() >= last);
}
