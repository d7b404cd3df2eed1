//! The accepted mails: an index in memory, everything else in the journal.

use super::Error;
use super::session::Envelope;
use crate::payments::journal::{self, Journal, Place};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use mail_parser::{MessageParser, PartType};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Mails kept at once; the next one is refused.
const MAX_MAILS: usize = 1_000_000;
/// Bytes kept at once; the next mail is refused.
const MAX_STORED_BYTES: u64 = 8 * 1024 * 1024 * 1024;

/// One line of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Record {
    /// The number of the first mail of this file: numbers go on after the mails were deleted.
    Begun { number: u64 },
    /// A mail was accepted.
    Accepted(Accepted),
}

#[derive(Debug, Serialize, Deserialize)]
struct Accepted {
    #[serde(flatten)]
    summary: Summary,
    /// The mail as it came, in base64.
    raw: String,
}

/// What the index knows of a mail.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Summary {
    /// Counts up, from 1.
    pub(super) n: u64,
    /// The address in the `From` header, or the envelope's sender if there is none.
    pub(super) from: String,
    /// The envelope's recipients.
    pub(super) to: Vec<String>,
    /// The envelope's sender.
    pub(super) envelope_from: String,
    /// The `Subject` header, decoded.
    pub(super) subject: Option<String>,
    /// The `Message-ID` header without its angle brackets.
    pub(super) message_id: Option<String>,
    /// When the mail was complete.
    pub(super) received_at: DateTime<Utc>,
}

/// A mail with its readable parts.
#[derive(Debug, Serialize)]
pub(super) struct Mail {
    #[serde(flatten)]
    pub(super) summary: Summary,
    /// The plain part, if there is one.
    pub(super) text: Option<String>,
    /// The HTML part, if there is one.
    pub(super) html: Option<String>,
}

/// Why a mail isn't kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the mail sink is full")]
    Full,
    #[error(transparent)]
    Journal(#[from] journal::Error),
}

/// The handle on all mails.
#[derive(Debug, Clone)]
pub(super) struct Store {
    folder: PathBuf,
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Debug)]
struct Shelf {
    generation: u64,
    journal: Arc<Journal>,
    next: u64,
    mails: Vec<(Summary, Place)>,
}

impl Store {
    /// Reads the mails that an earlier process kept.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let generation = newest_generation(folder)?;
        let shelf = Shelf::open(folder, generation, 1)?;
        Ok(Self {
            folder: folder.to_path_buf(),
            shelf: Arc::new(Mutex::new(shelf)),
        })
    }

    /// Keeps a mail; once this answers, it is on the disk.
    pub(super) async fn keep(&self, mail: Envelope) -> Result<(), Refusal> {
        let summary = Summary::of(&mail);
        let raw = STANDARD.encode(&mail.raw);
        let (journal, place) = self.lock().put(summary, raw)?;
        Ok(journal.settled(place.end()).await?)
    }

    /// Every mail that is asked for, oldest first.
    pub(super) fn find(&self, wanted: impl Fn(&Summary) -> bool) -> Vec<Found> {
        let kept = self.lock();
        let found = kept.mails.iter().filter(|(summary, _)| wanted(summary));
        found
            .map(|(summary, place)| Found {
                journal: Arc::clone(&kept.journal),
                summary: summary.clone(),
                place: *place,
            })
            .collect()
    }

    /// Deletes all mails; the journal that begins must settle up to the position. Numbers go on counting.
    /// Blocks on the disk.
    pub(super) fn clear(&self) -> Result<(Arc<Journal>, u64), Error> {
        let mut kept = self.lock();
        let old = file(&self.folder, kept.generation);
        *kept = Shelf::open(&self.folder, kept.generation + 1, kept.next)?;
        let begun = Arc::clone(&kept.journal);
        drop(kept);
        std::fs::remove_file(&old).map_err(|source| Error::Folder { path: old, source })?;
        let position = begun.end();
        Ok((begun, position))
    }

    /// Resolves when mails can't be kept any more.
    pub(super) async fn failed(&self) -> journal::Error {
        loop {
            let (generation, failed) = {
                let kept = self.lock();
                (kept.generation, kept.journal.failed())
            };
            let error = failed.await;
            if generation == self.lock().generation {
                return error;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A mail in the index, whose parts are still in the file.
#[derive(Debug, Clone)]
pub(super) struct Found {
    journal: Arc<Journal>,
    summary: Summary,
    place: Place,
}

impl Found {
    /// Waits until the mail is on the disk: what was shown once is there after a crash.
    pub(super) async fn settled(&self) -> Result<(), journal::Error> {
        self.journal.settled(self.place.end()).await
    }

    /// The mail with its parts. Blocks on the disk.
    pub(super) fn open(&self) -> Result<Mail, journal::Error> {
        let raw = self.raw()?;
        let message = MessageParser::new().parse(&raw);
        let (mut text, mut html) = (None, None);
        for part in message.iter().flat_map(|message| message.parts.iter()) {
            match &part.body {
                PartType::Text(body) if text.is_none() => text = Some(body.to_string()),
                PartType::Html(body) if html.is_none() => html = Some(body.to_string()),
                PartType::Text(_)
                | PartType::Html(_)
                | PartType::Binary(_)
                | PartType::InlineBinary(_)
                | PartType::Message(_)
                | PartType::Multipart(_) => {}
            }
        }
        Ok(Mail {
            summary: self.summary.clone(),
            text,
            html,
        })
    }

    /// The mail as it came. Blocks on the disk.
    pub(super) fn raw(&self) -> Result<Vec<u8>, journal::Error> {
        let accepted: Accepted = self.journal.read(self.place)?;
        Ok(STANDARD.decode(accepted.raw).unwrap_or_default())
    }
}

impl Shelf {
    fn open(folder: &Path, generation: u64, number: u64) -> Result<Self, Error> {
        let mut next = number;
        let mut mails = Vec::new();
        let path = file(folder, generation);
        let journal = Journal::open(&path, |record, place| match record {
            Record::Begun { number } => next = number,
            Record::Accepted(Accepted { summary, raw: _ }) => {
                next = summary.n + 1;
                mails.push((summary, place));
            }
        })?;
        if journal.end() == 0 {
            journal.append(&Record::Begun { number })?;
        }
        Ok(Self {
            generation,
            journal: Arc::new(journal),
            next,
            mails,
        })
    }

    fn put(&mut self, summary: Summary, raw: String) -> Result<(Arc<Journal>, Place), Refusal> {
        if self.mails.len() >= MAX_MAILS || self.journal.end() >= MAX_STORED_BYTES {
            return Err(Refusal::Full);
        }
        let summary = Summary {
            n: self.next,
            ..summary
        };
        let accepted = Accepted { summary, raw };
        let record = Record::Accepted(accepted);
        let place = self.journal.append(&record)?;
        if let Record::Accepted(Accepted { summary, .. }) = record {
            self.mails.push((summary, place));
        }
        self.next += 1;
        Ok((Arc::clone(&self.journal), place))
    }
}

impl Summary {
    fn of(mail: &Envelope) -> Self {
        let message = MessageParser::new().parse_headers(&mail.raw);
        let message = message.as_ref();
        let from = message
            .and_then(|message| message.from()?.first()?.address())
            .unwrap_or(&mail.from);
        Self {
            n: 0,
            from: from.to_owned(),
            to: mail.to.clone(),
            envelope_from: mail.from.clone(),
            subject: message.and_then(|message| message.subject().map(str::to_owned)),
            message_id: message.and_then(|message| message.message_id().map(str::to_owned)),
            received_at: Utc::now(),
        }
    }
}

/// Each deletion of all mails begins a new file, so that it is one step however many mails there are.
fn file(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("mails-{generation:06}.jsonl"))
}

/// The file in use, and the end of the older ones that a crash in the middle of a deletion left behind.
fn newest_generation(folder: &Path) -> Result<u64, Error> {
    let failed = |source| Error::Folder {
        path: folder.to_path_buf(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut generations = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("mails-")?.strip_suffix(".jsonl"));
        generations.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    generations.sort_unstable();
    let newest = generations.pop().unwrap_or(1);
    for old in generations {
        std::fs::remove_file(file(folder, old)).map_err(failed)?;
    }
    Ok(newest)
}
