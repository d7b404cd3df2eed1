//! What people change of their own account, told as sentences.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

mod words;

use kernel::{AddressId, EmailClaimId, Sealed};
use user::{ADDRESSES_MAX, Topic, UserCommand, UserEvent, UserRefusal};
use uuid::Uuid;
use words::{
    CLAIM, HOME, OTHER_CLAIM, WORK, after, erased, follows, is_refused, leaving, registered,
    sealed, suspended,
};

fn verified(email_claim: EmailClaimId) -> UserEvent {
    UserEvent::EmailVerified { email_claim }
}

fn change_email(from: EmailClaimId, email_claim: EmailClaimId) -> UserCommand {
    UserCommand::ChangeEmail {
        from,
        email: sealed("other"),
        email_claim,
    }
}

fn email_changed(email_claim: EmailClaimId) -> UserEvent {
    UserEvent::EmailChanged {
        email: sealed("other"),
        email_claim,
    }
}

fn change_password(hash: &str) -> UserCommand {
    UserCommand::ChangePassword {
        password_hash: sealed(hash),
    }
}

fn update_profile(phone: Option<Sealed>) -> UserCommand {
    UserCommand::UpdateProfile {
        name: sealed("married"),
        phone,
    }
}

fn profile_updated(phone: Option<Sealed>) -> UserEvent {
    UserEvent::ProfileUpdated {
        name: sealed("married"),
        phone,
    }
}

fn add(address_id: AddressId, text: &str) -> UserCommand {
    UserCommand::AddAddress {
        address_id,
        address: sealed(text),
    }
}

fn added(address_id: AddressId, text: &str) -> UserEvent {
    UserEvent::AddressAdded {
        address_id,
        address: sealed(text),
    }
}

fn remove(address_id: AddressId) -> UserCommand {
    UserCommand::RemoveAddress { address_id }
}

fn removed(address_id: AddressId) -> UserEvent {
    UserEvent::AddressRemoved { address_id }
}

fn set_default(address_id: AddressId) -> UserCommand {
    UserCommand::SetDefaultAddress { address_id }
}

fn default_set(address_id: AddressId) -> UserEvent {
    UserEvent::DefaultAddressSet { address_id }
}

fn prefer(allowed: bool) -> UserCommand {
    UserCommand::SetNotificationPreference {
        topic: Topic::Marketing,
        allowed,
    }
}

fn preferred(allowed: bool) -> UserEvent {
    UserEvent::NotificationPreferenceSet {
        topic: Topic::Marketing,
        allowed,
    }
}

#[test]
fn only_who_is_there_and_stays_changes_anything() {
    for command in [
        UserCommand::VerifyEmail { email_claim: CLAIM },
        change_email(CLAIM, OTHER_CLAIM),
        change_password("new"),
        update_profile(None),
        add(HOME, "home"),
        remove(HOME),
        set_default(HOME),
        prefer(true),
    ] {
        is_refused(vec![], command.clone(), UserRefusal::UserUnknown);
        let gone = vec![registered(), leaving(), erased()];
        is_refused(gone, command.clone(), UserRefusal::UserErased);
        let going = vec![registered(), leaving()];
        is_refused(going, command, UserRefusal::UserLeaving);
    }
}

#[test]
fn an_address_is_verified_once() {
    let verify = UserCommand::VerifyEmail { email_claim: CLAIM };
    follows(vec![registered()], verify.clone(), vec![verified(CLAIM)]);
    follows(vec![registered(), verified(CLAIM)], verify, vec![]);
}

#[test]
fn the_proof_of_an_address_that_was_changed_is_worth_nothing() {
    let changed = vec![registered(), verified(CLAIM), email_changed(OTHER_CLAIM)];
    is_refused(
        changed.clone(),
        UserCommand::VerifyEmail { email_claim: CLAIM },
        UserRefusal::EmailNotCurrent,
    );
    assert!(!after(&changed).account().unwrap().email_verified);
    let verify = UserCommand::VerifyEmail {
        email_claim: OTHER_CLAIM,
    };
    follows(changed, verify, vec![verified(OTHER_CLAIM)]);
}

#[test]
fn an_address_is_changed_once() {
    let change = change_email(CLAIM, OTHER_CLAIM);
    let changed = email_changed(OTHER_CLAIM);
    follows(vec![registered()], change.clone(), vec![changed.clone()]);
    follows(vec![registered(), changed], change, vec![]);
    follows(vec![registered()], change_email(CLAIM, CLAIM), vec![]);
}

#[test]
fn an_address_is_changed_only_from_the_one_that_it_is() {
    let third = EmailClaimId(Uuid::from_u128(3));
    is_refused(
        vec![registered(), email_changed(OTHER_CLAIM)],
        change_email(CLAIM, third),
        UserRefusal::EmailNotCurrent,
    );
}

#[test]
fn a_password_is_changed_once() {
    let changed = UserEvent::PasswordChanged {
        password_hash: sealed("new"),
    };
    follows(
        vec![registered()],
        change_password("new"),
        vec![changed.clone()],
    );
    follows(vec![registered(), changed], change_password("new"), vec![]);
}

#[test]
fn a_profile_is_updated_once_and_as_a_whole() {
    let phone = || Some(sealed("phone"));
    let updated = profile_updated(phone());
    follows(
        vec![registered()],
        update_profile(phone()),
        vec![updated.clone()],
    );
    let given = vec![registered(), updated];
    follows(given.clone(), update_profile(phone()), vec![]);
    follows(given, update_profile(None), vec![profile_updated(None)]);
}

#[test]
fn somebody_who_is_barred_may_still_see_to_their_account() {
    let given = vec![registered(), suspended()];
    follows(given, add(HOME, "home"), vec![added(HOME, "home")]);
}

#[test]
fn an_address_is_added_once() {
    follows(
        vec![registered()],
        add(HOME, "home"),
        vec![added(HOME, "home")],
    );
    let given = vec![registered(), added(HOME, "home")];
    follows(given.clone(), add(HOME, "home"), vec![]);
    is_refused(given, add(HOME, "away"), UserRefusal::AddressDiffers);
}

#[test]
fn an_address_book_has_an_end() {
    let numbers = 0..u128::try_from(ADDRESSES_MAX).unwrap();
    let mut given = vec![registered()];
    given.extend(numbers.map(|number| added(AddressId(Uuid::from_u128(number)), "a")));
    let full = UserRefusal::TooManyAddresses { max: ADDRESSES_MAX };
    let another = AddressId(Uuid::from_u128(0xFFFF));
    is_refused(given.clone(), add(another, "a"), full);
    given.push(removed(AddressId(Uuid::from_u128(0))));
    follows(given, add(another, "a"), vec![added(another, "a")]);
}

#[test]
fn an_address_is_removed_once() {
    let given = vec![registered(), added(HOME, "home")];
    follows(given.clone(), remove(HOME), vec![removed(HOME)]);
    let given = [given, vec![removed(HOME)]].concat();
    follows(given, remove(HOME), vec![]);
}

#[test]
fn the_first_address_is_the_default_until_another_is_chosen_or_it_goes() {
    let default = |events: &[UserEvent]| after(events).account().unwrap().default_address;
    let given = vec![registered(), added(HOME, "home"), added(WORK, "work")];
    assert_eq!(default(&given), Some(HOME));
    follows(given.clone(), set_default(WORK), vec![default_set(WORK)]);
    follows(given.clone(), set_default(HOME), vec![]);
    let chosen = [given, vec![default_set(WORK)]].concat();
    assert_eq!(default(&chosen), Some(WORK));
    assert_eq!(default(&[chosen, vec![removed(WORK)]].concat()), None);
}

#[test]
fn the_default_address_is_one_of_the_address_book() {
    is_refused(
        vec![registered(), added(HOME, "home")],
        set_default(WORK),
        UserRefusal::AddressUnknown,
    );
}

#[test]
fn nobody_is_written_to_without_their_word() {
    follows(vec![registered()], prefer(false), vec![]);
    follows(vec![registered()], prefer(true), vec![preferred(true)]);
    let given = vec![registered(), preferred(true)];
    follows(given.clone(), prefer(true), vec![]);
    follows(given.clone(), prefer(false), vec![preferred(false)]);
    let topics = after(&given).account().unwrap().topics.clone();
    assert_eq!(topics, std::collections::BTreeSet::from([Topic::Marketing]));
}
