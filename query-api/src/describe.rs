//! What the calls of a resource are called, and how each of them may answer: for the document.

use edge::openapi::{About, Call, about};
use edge::{Principal, Problem};

use crate::resource::{Audience, Resource};
use crate::{answer, past};

impl Audience {
    /// Who that is, in words.
    fn told(self) -> &'static str {
        match self {
            Self::Operators => "For operators.",
            Self::Owner => {
                "For whom it belongs to and for operators; what isn't yours isn't there."
            }
            Self::Person => "For the person and for operators.",
            Self::Public => "Everybody sees what is published; operators see all, and what was.",
        }
    }
}

impl Resource {
    /// `GET …/{id}`
    pub(crate) fn about_one(&'static self) -> About {
        about(format!("Read one {}", self.what))
            .more(self.audience.told())
            .with(|call| {
                self.names_one(call);
                self.past_is_for_operators(call);
                past::describe(call);
                let row = call.told(self.view.schema);
                answer::describe_versioned(call, &row);
            })
    }

    /// `GET …/{id}/events`
    pub(crate) fn about_events(&'static self) -> About {
        about(format!("Read the history of one {}", self.what))
            .more("Who did what, when and why, oldest first. Personal data stays sealed here.")
            .with(|call| self.names_one(call))
            .with(answer::is::<crate::history::Body<'static>>)
    }

    /// `GET …/{id}/diff`
    pub(crate) fn about_diff(&'static self) -> About {
        about(format!("Compare two moments of one {}", self.what))
            .more("Applied to what it was at `from`, the patch gives what it was at `to`.")
            .with(|call| self.names_one(call))
            .with(past::describe)
            .with(answer::is::<crate::diff::Body>)
    }

    /// `GET …`
    pub(crate) fn about_list(&'static self) -> About {
        about(format!("List {}", self.many))
            .more(self.audience.told())
            .with(|call| {
                self.past_is_for_operators(call);
                if self.audience == Audience::Owner {
                    // Whose the rows are to be is somebody else.
                    call.problem(Problem::not_found(""));
                }
                self.listing().describe(call);
            })
    }

    /// The call is about one of them.
    fn names_one(&self, call: &mut Call<'_>) {
        let schema = (self.id.schema)(call);
        call.path_is(0, &schema);
    }

    /// What everybody may see, only operators may see as it was, or before it is published.
    fn past_is_for_operators(&self, call: &mut Call<'_>) {
        if self.audience == Audience::Public {
            call.problem(Principal::token_required());
            call.problem(Problem::forbidden(""));
        }
    }
}
