//! How a client reads: one answer, a while of events, or everything.

use tokio::time::sleep;

use super::{ATTEMPTS_MAX, Client, RETRY_DELAY};
use crate::client::{Answer, Request};
use crate::history::{Action, Content, Event, FinalLog, Message, Outcome, Position, Refusal, chain};
use crate::workload::events;
use crate::workload::payload::{Format, parse_messages};
use crate::workload::stream::{Life, Stream};

impl Client {
    /// One answer of a read, recorded. `None` when there is no content.
    pub(super) async fn read(
        &mut self,
        stream: &Stream,
        life: &Life,
        from: Position,
        wait: bool,
    ) -> Option<(Content, Vec<Message>)> {
        let offset = self.dialect.format(from);
        let request = match wait {
            true => Request::long_poll(&stream.name, &offset, None),
            false => Request::read(&stream.name, &offset),
        };
        let call = self.clock.nanoseconds();
        let answer = self.exchange(&request).await;
        let action = Action::Read { from };
        match &answer {
            Ok(answer) if matches!(answer.head.status, 200 | 204) => {
                match self.content(stream.format, answer) {
                    Ok((content, messages)) => {
                        self.push(life, call, action, Outcome::Read(content));
                        Some((content, messages))
                    }
                    Err(error) => {
                        self.findings.problem(format!("{} from {offset}: {error:#}", stream.name));
                        None
                    }
                }
            }
            _ => {
                self.conclude(life, call, action, &answer);
                None
            }
        }
    }

    fn content(&self, format: Format, answer: &Answer) -> anyhow::Result<(Content, Vec<Message>)> {
        let messages = match answer.head.status {
            204 => Vec::new(),
            _ => parse_messages(format, &answer.body)?,
        };
        let next = answer.head.next.and_then(|next| self.dialect.parse(next.as_str()));
        let next =
            next.ok_or_else(|| anyhow::anyhow!("no usable Stream-Next-Offset: {:?}", answer.head.next))?;
        let hash = messages.iter().fold(0, |hash, message| chain(hash, message.id));
        let (up_to_date, closed) = (answer.head.up_to_date, answer.head.closed);
        Ok((Content { next, up_to_date, closed, count: messages.len() as u64, hash }, messages))
    }

    /// Follows by events for a while.
    pub(super) async fn follow(&mut self, stream: &Stream, life: &Life) {
        let Some(address) = self.target.address().await else { return };
        let from = life.tail();
        let call = self.clock.nanoseconds();
        let seen = events::follow(address, stream, from, self.dialect, self.clock).await;
        for result in seen {
            match result {
                Ok((ret, from, content)) => life.push(Event {
                    client: self.number,
                    call,
                    ret,
                    action: Action::Read { from },
                    outcome: Outcome::Read(content),
                }),
                Err(problem) => self.findings.problem(format!("{}: {problem:#}", stream.name)),
            }
        }
    }

    /// All that the stream holds; as often as it takes.
    pub(super) async fn read_all(&mut self, stream: &Stream, life: &Life) -> FinalLog {
        let mut end = FinalLog { present: true, ..FinalLog::default() };
        let mut from = Position::default();
        for _ in 0..ATTEMPTS_MAX {
            while let Some((content, messages)) = self.read(stream, life, from, false).await {
                end.messages.extend(messages);
                from = content.next;
                if content.up_to_date {
                    end.closed = content.closed;
                    return end;
                }
            }
            if self.simple(stream, life, Action::Head).await == Outcome::Refused(Refusal::NotFound) {
                end.present = false;
                return end;
            }
            // What retention has let go is not the reader's any more; it begins where the stream does now.
            let earliest = life.earliest();
            if earliest > from {
                (from, end.trimmed) = (earliest, earliest);
                end.messages.clear();
            }
            sleep(RETRY_DELAY).await;
        }
        self.findings.problem(format!("{} cannot be read", stream.name));
        end
    }
}
