//! Mail templates: a plain and an HTML part each, the HTML one escaped.

use kernel::Money;
use minijinja::{Environment, Value, context};
use notification::{Details, Template};
use thiserror::Error;

/// A mail ready to be sent, but for its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// One line.
    pub subject: String,
    /// The plain part.
    pub text: String,
    /// The HTML part.
    pub html: String,
}

/// Who a mail is for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reader<'a> {
    /// How to address them.
    pub name: &'a str,
    /// What proves that they read mails to this address, until it was proven.
    pub verification_token: Option<&'a str>,
}

/// A template is wrong.
#[derive(Debug, Error)]
#[error("the template can't be rendered")]
pub struct TemplateError(#[from] minijinja::Error);

macro_rules! sources {
    ($($name:literal),*) => {
        [$(
            (concat!($name, ".txt"), include_str!(concat!("../templates/", $name, ".txt"))),
            (concat!($name, ".html"), include_str!(concat!("../templates/", $name, ".html"))),
        )*]
    };
}

/// All templates, parsed once. The first line of a plain part is the subject.
pub struct Templates(Environment<'static>);

impl Templates {
    /// Parses the templates.
    ///
    /// # Errors
    /// One does not parse.
    pub fn new() -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        // minijinja escapes by the name's ending: `.html` yes, `.txt` no.
        environment.add_template("layout.html", include_str!("../templates/layout.html"))?;
        for (name, source) in sources!(
            "welcome",
            "verify_email",
            "order_confirmed",
            "order_rejected",
            "order_canceled",
            "order_shipped",
            "order_refunded"
        ) {
            environment.add_template(name, source)?;
        }
        Ok(Self(environment))
    }

    /// Fills a template in for its reader.
    ///
    /// # Errors
    /// The template uses what it isn't given.
    pub fn render(
        &self,
        template: Template,
        reader: &Reader<'_>,
        details: &Details,
    ) -> Result<Mail, TemplateError> {
        let values = values(reader, details);
        let text = self
            .0
            .get_template(&format!("{template}.txt"))?
            .render(&values)?;
        let html = self
            .0
            .get_template(&format!("{template}.html"))?
            .render(&values)?;
        let (subject, text) = text.split_once('\n').unwrap_or((text.as_str(), ""));
        Ok(Mail {
            subject: subject.trim().to_owned(),
            text: text.trim_start().to_owned(),
            html,
        })
    }
}

fn values(reader: &Reader<'_>, details: &Details) -> Value {
    context! {
        name => reader.name,
        verification_token => reader.verification_token,
        order_id => details.order_id.map(|id| id.to_string()),
        amount => details.amount.map(|amount: Money| amount.to_string()),
        reason => details.reason.as_ref().map(|r| r.as_str().replace('_', " ")),
        tracking => details.tracking.as_ref().map(ToString::to_string),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Template; 7] = [
        Template::Welcome,
        Template::VerifyEmail,
        Template::OrderConfirmed,
        Template::OrderRejected,
        Template::OrderCanceled,
        Template::OrderShipped,
        Template::OrderRefunded,
    ];

    const ADA: Reader<'_> = Reader {
        name: "Ada",
        verification_token: Some("t-o-k-e-n"),
    };

    #[test]
    fn every_template_renders_with_and_without_details() {
        let templates = Templates::new().unwrap();
        let details = Details {
            amount: Some(Money::new(1299, "EUR".parse().unwrap())),
            reason: Some("card_declined".parse().unwrap()),
            ..Details::default()
        };
        for template in ALL {
            let full = templates.render(template, &ADA, &details).unwrap();
            assert!(
                full.text.contains("Ada") && full.html.contains("Ada"),
                "{template}"
            );
            assert!(!full.subject.is_empty(), "{template}");
            templates
                .render(template, &Reader::default(), &Details::default())
                .unwrap();
        }
    }

    #[test]
    fn who_has_to_verify_an_address_is_told_how() {
        let templates = Templates::new().unwrap();
        for template in [Template::Welcome, Template::VerifyEmail] {
            let mail = templates.render(template, &ADA, &Details::default());
            let mail = mail.unwrap();
            assert!(mail.text.contains("t-o-k-e-n") && mail.html.contains("t-o-k-e-n"));
            let verified = Reader {
                verification_token: None,
                ..ADA
            };
            let mail = templates.render(template, &verified, &Details::default());
            assert!(!mail.unwrap().text.contains("code"), "{template}");
        }
    }

    #[test]
    fn a_name_can_inject_nothing() {
        let templates = Templates::new().unwrap();
        let name = "<script>{{ 7 * 7 }}</script>";
        let mail = templates
            .render(
                Template::Welcome,
                &Reader { name, ..ADA },
                &Details::default(),
            )
            .unwrap();
        assert!(!mail.html.contains("<script>"));
        assert!(!mail.html.contains("49") && !mail.text.contains("49"));
    }
}
