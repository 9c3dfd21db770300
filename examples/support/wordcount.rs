//! The parts of the word count that know nothing of processes: options, files, words.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A task holds at least so many bytes, unless the folder has fewer.
const TASK_BYTES: u64 = 256 * 1024;
/// A file with a zero byte this far in is binary.
const LOOK_BYTES: u64 = 8 * 1024;

/// The command line.
pub(crate) struct Options {
    pub(crate) folder: PathBuf,
    pub(crate) workers: usize,
    pub(crate) crash: u32,
}

impl Options {
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let usage = "usage: wordcount FOLDER [--workers N] [--crash K]";
        let workers = std::thread::available_parallelism()?.get();
        let mut options = Self { folder: PathBuf::new(), workers, crash: 0 };
        while let Some(arg) = args.next() {
            let mut number = || args.next().ok_or(usage);
            match arg.as_str() {
                "--workers" => options.workers = number()?.parse::<usize>()?.clamp(1, 256),
                "--crash" => options.crash = number()?.parse()?,
                folder if !folder.starts_with('-') => options.folder = folder.into(),
                _ => return Err(usage.into()),
            }
        }
        if options.folder.as_os_str().is_empty() {
            return Err(usage.into());
        }
        Ok(options)
    }
}

/// Some files that one worker counts in one go.
#[derive(Default)]
pub(crate) struct Task {
    pub(crate) files: Vec<String>,
    pub(crate) bytes: u64,
}

impl Task {
    /// The first file, and how many more there are.
    pub(crate) fn name(&self) -> String {
        match self.files.as_slice() {
            [] => "nothing".into(),
            [one] => one.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        }
    }
}

/// Every text file below a folder, in tasks of a size that is worth a message.
pub(crate) fn find_tasks(folder: &Path) -> Result<Vec<Task>, Box<dyn Error>> {
    let mut tasks = Vec::new();
    let mut task = Task::default();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder);
        let mut entries: Vec<_> = entries
            .map_err(|error| format!("{}: {error}", folder.display()))?
            .collect::<io::Result<_>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let is_folder = entry.file_type()?.is_dir();
            if name.as_encoded_bytes().starts_with(b".") || (is_folder && name == "target") {
                continue;
            }
            if is_folder {
                folders.push(entry.path());
            } else if entry.file_type()?.is_file()
                && let Some(path) = entry.path().to_str()
                && let Some(bytes) = text_len(&entry.path())
            {
                task.files.push(path.to_owned());
                task.bytes += bytes;
                if task.bytes >= TASK_BYTES {
                    tasks.push(std::mem::take(&mut task));
                }
            }
        }
    }
    if !task.files.is_empty() {
        tasks.push(task);
    }
    Ok(tasks)
}

/// The length of a text file in bytes; `None` for a binary one and one that is not ours
/// to read.
fn text_len(path: &Path) -> Option<u64> {
    let mut start = Vec::new();
    let file = fs::File::open(path).ok()?;
    let len = file.metadata().ok()?.len();
    file.take(LOOK_BYTES).read_to_end(&mut start).ok()?;
    (!start.contains(&0)).then_some(len)
}

/// The workers' count. A word is a run of ASCII letters and digits and of anything that
/// is not ASCII; ASCII letters count as small.
pub(crate) fn count_words(bytes: &[u8], counts: &mut HashMap<String, u64>) {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii();
    let mut word = Vec::new();
    for part in bytes.split(|byte| !is_word(byte)).filter(|part| !part.is_empty()) {
        word.clear();
        word.extend(part.iter().map(u8::to_ascii_lowercase));
        let text = String::from_utf8_lossy(&word);
        match counts.get_mut(text.as_ref()) {
            Some(count) => *count += 1,
            None => drop(counts.insert(text.into_owned(), 1)),
        }
    }
}

/// The same count by code that shares nothing with it: characters in place of bytes, one
/// process, no tasks.
pub(crate) fn count_serially(tasks: &[Task]) -> Result<HashMap<String, u64>, Box<dyn Error>> {
    let mut counts = HashMap::new();
    for file in tasks.iter().flat_map(|task| &task.files) {
        let bytes = fs::read(file).map_err(|error| format!("{file}: {error}"))?;
        let text = String::from_utf8_lossy(&bytes);
        let mut word = String::new();
        for character in text.chars().chain([' ']) {
            if character.is_ascii_alphanumeric() || !character.is_ascii() {
                word.push(character.to_ascii_lowercase());
            } else if !word.is_empty() {
                *counts.entry(std::mem::take(&mut word)).or_default() += 1;
            }
        }
    }
    Ok(counts)
}
