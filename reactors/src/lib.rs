//! Events to the outside: the payment provider and the mailer.
