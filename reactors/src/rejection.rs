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

/// Longest enhanced status code (RFC 3463 §2: a digit and two numbers of up to three).
const ENHANCED_LENGTH_MAX: usize = 9;

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

/// Is what the server said no text (RFC 5321 §2.4 has ASCII)? It has answered, so the mail may be on its way:
/// to send it again might be to send it twice.
pub(crate) fn is_unreadable(error: &Error) -> bool {
    let mut causes = std::iter::successors(error.source(), |&error| error.source());
    causes.any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            // What is wrong with TLS is of the same kind.
            .is_some_and(|error| {
                error.kind() == std::io::ErrorKind::InvalidData
                    && error.to_string().contains("UTF-8")
            })
    })
}

/// What the server said, by its codes alone: its words may tell of the recipient in any way, and events
/// hold nothing personal.
pub(crate) fn said(error: &Error) -> String {
    if is_unreadable(error) {
        return "the mail server's answer can't be read: it may have taken the mail".to_owned();
    }
    if error.is_response() {
        // It shows what was said.
        return "the mail server's answer is none, or broke off".to_owned();
    }
    let Some(reply) = error.status() else {
        // It said nothing that could be read: this is about the connection.
        return error.to_string();
    };
    let text = error.source().map(ToString::to_string);
    codes(u16::from(reply), &text.unwrap_or_default())
}

fn codes(reply: u16, text: &str) -> String {
    let first = text.split_whitespace().next().unwrap_or_default();
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let enhanced = first.split('.').count() == 3
        && first.split('.').all(number)
        && first.len() <= ENHANCED_LENGTH_MAX;
    if enhanced {
        format!("the mail server answered {reply} {first}")
    } else {
        format!("the mail server answered {reply}")
    }
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
    fn what_is_kept_holds_nothing_of_the_address() {
        for text in [
            "5.1.1 <ann.miller@example.com>: unknown",
            "5.1.1 User ann.miller unknown",
            "5.1.1",
        ] {
            assert_eq!(codes(550, text), "the mail server answered 550 5.1.1");
        }
        for text in [
            "",
            "ann.miller is unknown",
            "1.2.3.ann x",
            "5.1. x",
            "5.1.1\u{0} x",
        ] {
            assert_eq!(codes(550, text), "the mail server answered 550", "{text}");
        }
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
