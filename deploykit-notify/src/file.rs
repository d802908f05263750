//! The notifier `file`: a line at the end of a file.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;

use camino::Utf8PathBuf;
use deploykit_core::config::{NoticeForm, NotifierConfig};
use deploykit_core::traits::{BoxError, Notifier, NotifierError};
use deploykit_core::{BackendRequest, Context, Message};

#[derive(Debug)]
pub(crate) struct File {
    name: String,
    path: Utf8PathBuf,
    form: NoticeForm,
}

impl File {
    pub(crate) fn construct(
        request: &BackendRequest<'_>,
        config: &NotifierConfig,
    ) -> Result<Arc<dyn Notifier>, BoxError> {
        let path = config.path.as_deref().ok_or("it needs a path")?;
        let path = request.layout.root().join(path);
        Ok(Arc::new(Self { name: config.label(), path, form: config.format.unwrap_or_default() }))
    }

    fn append(&self, line: &str) -> std::io::Result<()> {
        let mut options = fs::File::options();
        let mut file = options.read(true).append(true).create(true).mode(0o640).open(&self.path)?;
        // Somebody else's line without an end, or one of ours that a full disk has cut, stays by itself.
        let begin = match file.seek(SeekFrom::End(-1)) {
            Ok(_) => {
                let mut last = [0];
                file.read_exact(&mut last)?;
                if last == *b"\n" { "" } else { "\n" }
            }
            Err(_) => "",
        };
        file.write_all(format!("{begin}{line}\n").as_bytes())
    }
}

impl Notifier for File {
    fn name(&self) -> &str {
        &self.name
    }

    fn send(&self, _: &Context, message: &Message) -> Result<(), NotifierError> {
        let line = match self.form {
            NoticeForm::Text => format!("{} {}", message.at, message.subject()),
            _ => message.story.to_string(),
        };
        let line = line.replace(['\n', '\r'], " ");
        // A named pipe would be waited for.
        let is_other = fs::metadata(&self.path).is_ok_and(|found| !found.is_file());
        if is_other {
            return Err(NotifierError::Refused { why: format!("{} is not a file", self.path) });
        }
        self.append(&line).map_err(|error| NotifierError::Refused {
            why: format!("cannot write to {}: {error}", self.path),
        })
    }
}
