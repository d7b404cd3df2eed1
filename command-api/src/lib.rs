//! HTTP in, events out.
//!
//! ```text
//!   POST /v1/orders ──► order, placing ──► write ──► streams::execute ──► event in ORDER
//!                         │   parse, authorize       If-Match, refusals → problems
//!                         └── questions ──► user: active?  product: price now?   (bus, or here)
//!
//!   user, account, mailbox, session,           a file a context (user has four), its routes at
//!   product, inventory, order, payment,        its top
//!   notification, checkout
//!   endpoint                                   who else is told of events
//!   placing, address                           what an order needs before it is a command
//!   returns                                    what comes back of it
//!   importing, batch, lines                    products from a body of any length
//!   email, phone, password, text               what is parsed once and never checked again
//!   throttle                                   how often a password may be guessed
//!   webhook, signature                         what the payment provider tells, kept as it came
//!   call, resource, write                      what is the same for every call
//!   error                                      refusal → status and field; failure → problem
//!   questions, remembered                      what other contexts know
//!   outcomes, sagas                            how an order, and what follows from a command, ended
//!   owned                                      how many webhook endpoints each customer has
//!   personal                                   sealing of personal data
//!   host                                       the command bus's side
//!   elsewhere                                  calls on contexts that another process hosts
//! ```

mod account;
mod address;
mod api;
mod batch;
mod call;
mod checkout;
mod config;
mod elsewhere;
mod email;
mod endpoint;
mod error;
mod host;
mod importing;
mod inventory;
mod lines;
mod mailbox;
mod notification;
mod order;
mod outcomes;
mod owned;
mod password;
mod payment;
mod personal;
mod phone;
mod placing;
mod problems;
mod product;
mod questions;
mod remembered;
mod resource;
mod returns;
mod run;
mod sagas;
mod session;
mod signature;
mod text;
mod throttle;
mod user;
mod webhook;
mod write;

pub use api::{Api, Deps, document, router};
pub use config::Config;
pub use elsewhere::{Elsewhere, Here};
pub use host::hosts;
pub use personal::{Personal, PersonalError};
pub use problems::PAGES;
pub use questions::{AskSettle, Local, NoAnswer, OverBus, Questions, Whose};
pub use run::{Connections, Error, Service, health};
pub use signature::{NoSecret, WebhookSecrets};
pub use webhook::{Letters, Webhook};
