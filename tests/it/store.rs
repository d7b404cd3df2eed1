//! The store's contract, and that of subscriptions, bus, timers, keys and inbox, on a real server.

use chrono::{DateTime, Utc};
use streams::Connection;
use streams::contract::{self, OnServer, races};
use streams::contract_subscriptions::{
    self as subscriptions, bulk, bus, clock, durable, inbox, keys, lanes, ordered, parking,
    resting, slow, timers,
};

use crate::app::counted;
use crate::server::Server;

/// Where a contract is kept: one server, or several that replicate to each other.
pub(crate) trait Place {
    async fn connect(&self) -> Connection;

    /// Kills the server that leads `stream`, the hard way, and starts it again on its data.
    async fn restart(&self, stream: &str) {
        self.down_until(stream, DateTime::UNIX_EPOCH).await;
    }

    /// The same, not before `time`; tells when it was dead.
    async fn down_until(&self, stream: &str, time: DateTime<Utc>) -> DateTime<Utc>;

    /// Does a file of a stream hold `text`?
    fn is_on_disk(&self, text: &str) -> bool;
}

impl Place for Server {
    async fn connect(&self) -> Connection {
        Self::connect(self).await
    }

    async fn down_until(&self, _stream: &str, time: DateTime<Utc>) -> DateTime<Utc> {
        Self::down_until(self, time).await
    }

    fn is_on_disk(&self, text: &str) -> bool {
        Self::is_on_disk(self, text)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jetstream_store_keeps_the_contract() {
    let server = Server::start("store").await;
    let rig = OnServer::open(server.options(), 1).await;
    contract::all(&rig).await;
    rig.all().await;
    races::writers_lose_nothing_during(&rig, async || {
        server.down_until(DateTime::UNIX_EPOCH).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_streams_tells_what_time_it_is() {
    let server = Server::start("clock").await;
    clock::it_is_told(&server.connect().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordered_subscriptions_yield_each_event_once_and_in_order() {
    let server = Server::start("ordered").await;
    ordered_subscriptions(&server).await;
    ordered::a_node_that_is_behind_is_not_believed(&server.options()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durable_subscriptions_lose_nothing_and_one_works_at_a_time() {
    durable_subscriptions(&Server::start("durable").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_answers_and_denied_ones_stop_no_worker() {
    let server = prepared("slow").await;
    slow::a_slow_server_stops_nobody(&server.options()).await;
    let denied = server.connect_without_reset().await;
    slow::a_reset_that_is_denied_stops_nobody(&server.connect().await, &denied).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_without_a_free_lane_takes_in_and_tells() {
    let server = prepared("busy").await;
    let metrics = counted();
    let page = || metrics.render();
    let connection = server.connect().await;
    lanes::a_key_that_is_due_holds_nothing_up(&connection, page).await;
    lanes::a_sift_that_lasts_holds_nothing_up(&connection, page).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_acknowledged_in_bulk_are_repeated_at_most() {
    let server = prepared("bulk").await;
    bulk_subscriptions(&server).await;
    let connection = server.connect().await;
    bulk::a_key_in_the_way_is_set_aside(&connection).await;
    bulk::an_outage_sets_nothing_aside(&connection).await;
    bulk::a_long_key_in_the_way_is_set_aside(&connection).await;
    bulk::another_log_under_a_worker_ends_it(&connection).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_rests_is_passed_over_and_hears_all_that_comes_when_it_wakes() {
    resting_subscriptions(&prepared("resting").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_handled_is_parked_and_comes_back() {
    let server = prepared("parking").await;
    Box::pin(parked_keys(&server)).await;
    parking::a_node_that_is_behind_is_not_believed(&server.options()).await;
    parking::nothing_is_handled_beside_a_try_that_begins(&server.options()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bus_answers_in_types_and_shares_the_work() {
    command_bus(&Server::start("bus").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_fire_once_and_keys_open_only_what_they_sealed() {
    timers_and_keys(&prepared("timers").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_stored_once_and_wait_until_they_are_removed() {
    letters(&prepared("inbox").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_waits_goes_on_after_a_restart() {
    restarts(&prepared("restarts").await).await;
}

/// A server with the streams of the infrastructure.
async fn prepared(name: &str) -> Server {
    let server = Server::start(name).await;
    subscriptions::prepare(&server.connect().await).await;
    server
}

pub(crate) async fn ordered_subscriptions(place: &impl Place) {
    let connection = place.connect().await;
    ordered::resumes_from_a_position(&connection).await;
    ordered::what_is_begun_is_gone_on_with(&connection).await;
    ordered::reads_what_matches(&connection).await;
    ordered::reads_since_a_time(&connection).await;
    ordered::knows_that_nothing_is_there(&connection).await;
    ordered::goes_on_when_its_consumer_is_deleted(&connection).await;
    ordered::says_whether_it_is_current(&connection).await;
    ordered::a_scan_goes_on(&connection).await;
    ordered::a_gap_is_an_error(&connection).await;
    ordered::an_unreadable_event_is_an_error(&connection).await;
    ordered::a_log_that_is_too_short_is_an_error(&connection).await;
}

pub(crate) async fn durable_subscriptions(place: &impl Place) {
    let (first, second) = (place.connect().await, place.connect().await);
    durable::another_worker_takes_over(&first, &second).await;
    durable::left_overs_come_by_themselves(&first, &second).await;
    Box::pin(durable::an_idle_worker_stays_active(&first)).await;
    durable::a_released_worker_hands_over_at_once(&first).await;
    durable::retry_after_comes_again(&first).await;
    durable::an_unreadable_event_stays(&first).await;
    durable::a_missing_durable_is_an_error(&first).await;
    lanes::one_key_stays_in_order(&first).await;
    lanes::a_poisoned_key_stops_nobody_else(&first).await;
    Box::pin(lanes::a_worker_with_full_hands_stays_the_only_one(
        &first, &second,
    ))
    .await;
}

pub(crate) async fn bulk_subscriptions(place: &impl Place) {
    let (first, second) = (place.connect().await, place.connect().await);
    bulk::an_event_costs_one_message(&first, &second).await;
    bulk::a_restart_goes_on_where_it_was(&first).await;
    Box::pin(bulk::a_kill_repeats_and_skips_nothing(&first, &second)).await;
    Box::pin(slow::who_ends_keeps_what_it_works_on(&first, &second)).await;
    bulk::what_can_not_be_sifted_now_waits(&first).await;
    bulk::what_can_not_be_handled_is_set_aside(&first).await;
    bulk::a_late_acknowledgement_stops_nobody(&first, &second).await;
    bulk::a_reset_from_outside_loses_nothing(&first).await;
}

pub(crate) async fn resting_subscriptions(place: &impl Place) {
    let (first, second) = (place.connect().await, place.connect().await);
    resting::who_rests_is_passed_over(&first).await;
    resting::who_wakes_hears_what_was_not_passed_over(&first).await;
    resting::who_rests_leaves_it_to_who_works(&first, &second).await;
}

pub(crate) async fn parked_keys(place: &impl Place) {
    let (first, second) = (place.connect().await, place.connect().await);
    parking::a_poisoned_key_is_set_aside_and_comes_back(&first).await;
    parking::a_retry_reads_what_waits_once(&first).await;
    parking::a_long_key_is_read_in_batches(&first).await;
    parking::a_skip_leaves_one_event_out(&first).await;
    parking::a_retry_that_fails_says_so(&first).await;
    parking::what_can_not_be_read_is_set_aside(&first).await;
    parking::what_does_not_pass_in_time_is_set_aside(&first).await;
    parking::a_standby_knows_what_is_parked(&first, &second).await;
    parking::a_long_try_is_left_to_who_is_at_it(&first, &second).await;
    parking::a_standby_begins_with_no_parked_key(&first, &second).await;
    parking::a_retry_needs_no_delivery(&first).await;
    parking::another_look_reads_what_is_new(&first, &second).await;
    parking::what_comes_late_is_handled_or_waits(&first).await;
    parking::a_worker_that_must_stop_does(&first).await;
    parking::what_a_node_lacks_is_read_later(&first).await;
}

pub(crate) async fn command_bus(place: &impl Place) {
    let (one, other) = (place.connect().await, place.connect().await);
    bus::keeps_the_contract(bus::Way::Network(&one)).await;
    bus::keeps_the_contract(bus::Way::Beside(&one)).await;
    bus::nobody_there_is_known_at_once(&one).await;
    bus::two_hosts_share_the_work(&one, &other).await;
    bus::nothing_is_begun_after_its_deadline(&one).await;
    bus::what_a_host_took_along_is_asked_again(&one, &other).await;
    bus::a_host_that_comes_back_is_asked_again(&one, &other).await;
}

pub(crate) async fn timers_and_keys(place: &impl Place) {
    let connection = place.connect().await;
    keys::seals_and_opens(&connection).await;
    keys::racing_creators_share_one_key(&connection).await;
    keys::a_destroyed_key_is_gone(&connection).await;
    keys::what_does_not_fit_is_told_apart(&connection).await;
    keys::the_master_key_is_rotated(&connection).await;
    keys::half_a_rotation_is_ended(&connection).await;
    timers::fires_once_when_due(&connection).await;
    timers::setting_again_replaces(&connection).await;
    timers::canceling_says_whether_it_was_in_time(&connection).await;
}

pub(crate) async fn letters(place: &impl Place) {
    let connection = place.connect().await;
    inbox::a_letter_is_stored_once(&connection).await;
    inbox::what_is_refused_for_good_is_not_tried_again(&connection).await;
    inbox::a_letter_waits_until_it_is_removed(&connection).await;
    inbox::a_durable_hands_letters_out(&connection).await;
    inbox::a_removed_letter_leaves_the_disk(&connection, |text| place.is_on_disk(text)).await;
}

/// Nobody else may use the place meanwhile.
pub(crate) async fn restarts(place: &impl Place) {
    let connection = place.connect().await;
    let restart = async |stream: &str| place.restart(stream).await;
    ordered::goes_on_after_a_restart(&connection, restart).await;
    lanes::lanes_go_on_after_a_restart(&connection, restart).await;
    bulk::goes_on_after_a_restart(&connection, restart).await;
    let down_until = async |stream: &str, time| place.down_until(stream, time).await;
    timers::survives_a_restart(&connection, down_until).await;
}
