//! What a mail server's "no" is about: the mailbox, ourselves, or something else.

use std::error::Error as _;

use kernel::{Reason, TextError};
use lettre::transport::smtp::Error;

/// Replies that may be about the mailbox (RFC 5321 §4.2.3).
const MAILBOX_REPLIES: [u16; 3] = [550, 551, 553];

/// Enhanced status codes that are (RFC 3463 §3.2, RFC 7505 §4.2): no such mailbox, no such domain, no
/// address at all, moved away, a domain that takes no mail.
const NO_MAILBOX: [&str; 5] = ["5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10"];

/// Replies that are about us: who we are, or that we may not say it like this (RFC 4954 §6, RFC 3207 §4).
const LOGIN_REPLIES: [u16; 4] = [530, 534, 535, 538];

/// Enhanced status codes that are about whoever sends (RFC 3463 §3.2, §3.5): the address in
/// `MILLRACE_MAIL_FROM`, and more mail than may be sent in a day.
const SENDER: [&str; 3] = ["5.1.7", "5.1.8", "5.4.5"];

/// What may not be sent, or not by us (RFC 3463 §3.8).
const POLICY: &str = "5.7.";

/// Does the server say that it takes nothing from us as we are? That may be over tomorrow, or once
/// somebody has seen to it, and would be the end of every mail of the time between.
pub(crate) fn is_about_sender(error: &Error) -> bool {
    error.is_permanent()
        && error
            .source()
            .is_some_and(|text| blames_sender(&text.to_string()))
}

fn blames_sender(text: &str) -> bool {
    let code = text.split_whitespace().next();
    code.is_some_and(|code| SENDER.contains(&code) || code.starts_with(POLICY))
}

/// Does the server say that it doesn't know us? That says nothing about any mail.
pub(crate) fn is_about_us(error: &Error) -> bool {
    let reply = error.status().map(u16::from);
    reply.is_some_and(|reply| LOGIN_REPLIES.contains(&reply))
}

/// Does the server say that there is no such mailbox? Only with an enhanced status code: a bare 550
/// may be about the sender or a policy, and would suppress everybody who is written to meanwhile.
pub(crate) fn is_no_mailbox(error: &Error) -> bool {
    let reply = error.status().map(u16::from);
    reply.is_some_and(|reply| MAILBOX_REPLIES.contains(&reply))
        && error
            .source()
            .is_some_and(|text| is_about_mailbox(&text.to_string()))
}

fn is_about_mailbox(text: &str) -> bool {
    let code = text.split_whitespace().next();
    code.is_some_and(|code| NO_MAILBOX.contains(&code))
}

/// What the server said, without the address that it was said about: events hold nothing personal.
pub(crate) fn said(error: &Error, email: &str) -> String {
    without(&error.to_string(), email)
}

fn without(text: &str, email: &str) -> String {
    let (lower, email) = (text.to_ascii_lowercase(), email.to_ascii_lowercase());
    let mut plain = String::with_capacity(text.len());
    let mut from = 0;
    for (at, found) in lower.match_indices(&email) {
        plain.push_str(text.get(from..at).unwrap_or_default());
        plain.push_str("the address");
        from = at + found.len();
    }
    plain.push_str(text.get(from..).unwrap_or_default());
    plain
}

/// What the server said, as the reason of a suppression.
pub(crate) fn as_reason(said: &str) -> Result<Reason, TextError> {
    let plain = said.chars().map(|c| if c.is_control() { ' ' } else { c });
    let text: String = "bounced: ".chars().chain(plain).collect();
    let short: String = text.chars().take(Reason::LENGTH_MAX).collect();
    short.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_enhanced_code_says_that_there_is_no_mailbox() {
        for text in ["5.1.1 No such mailbox", "5.1.2 Host unknown", "5.1.6 Moved"] {
            assert!(is_about_mailbox(text), "{text}");
        }
        for text in [
            "",
            "No such mailbox",
            "5.7.1 Sender refused",
            "5.1.8 Bad sender's system address",
            "5.1.11 Something new",
            "5.6.0 Message refused (see 5.1.1)",
        ] {
            assert!(!is_about_mailbox(text), "{text}");
        }
    }

    #[test]
    fn what_is_about_us_is_told_from_what_is_about_the_mailbox() {
        for text in [
            "5.4.5 Daily sending quota exceeded",
            "5.7.1 Relay access denied",
            "5.7.26 Unauthenticated mail",
            "5.1.8 Bad sender's system address",
        ] {
            assert!(blames_sender(text), "{text}");
        }
        for text in [
            "",
            "5.1.1 No such mailbox",
            "5.4.50 Something new",
            "5.6.0 Message refused (see 5.7.1)",
        ] {
            assert!(!blames_sender(text), "{text}");
        }
    }

    #[test]
    fn what_is_kept_does_not_hold_the_address() {
        let text = "5.1.1 <Ann@Example.com>: no such user ann@example.com, ä";
        assert_eq!(
            without(text, "ann@example.COM"),
            "5.1.1 <the address>: no such user the address, ä"
        );
        assert_eq!(
            without("no such mailbox", "ann@example.com"),
            "no such mailbox"
        );
    }

    #[test]
    fn whatever_a_server_says_is_a_reason() {
        let long = "x".repeat(2_000);
        for said in ["", "550 5.1.1\r\nNo such mailbox\u{0}", long.as_str()] {
            let reason = as_reason(said).unwrap();
            assert!(reason.as_str().starts_with("bounced:"), "{reason}");
        }
    }
}
