//! Records by the batch, and topics by their ids: the one place where librdkafka is called past its
//! wrapper.
//!
//! The wrapper hands out one record a call, at 250 ns each of the reading thread, and of a partition's
//! end it tells the number and not the topic. A batch costs 80 ns a record, and tells all. And it does
//! not tell the id by which a topic differs from one of the same name that was there before.

#![expect(
    unsafe_code,
    reason = "the wrapper has neither; what is handed out here lives no longer than the call that hands it out"
)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::{NonNull, null_mut};
use std::time::Duration;

use rdkafka::bindings::{
    rd_kafka_AdminOptions_destroy, rd_kafka_AdminOptions_new,
    rd_kafka_AdminOptions_set_request_timeout, rd_kafka_DescribeTopics,
    rd_kafka_DescribeTopics_result_topics, rd_kafka_TopicCollection_destroy,
    rd_kafka_TopicCollection_of_topic_names, rd_kafka_TopicDescription_error,
    rd_kafka_TopicDescription_name, rd_kafka_TopicDescription_t,
    rd_kafka_TopicDescription_topic_id, rd_kafka_Uuid_least_significant_bits,
    rd_kafka_Uuid_most_significant_bits, rd_kafka_admin_op_t, rd_kafka_consume_batch_queue,
    rd_kafka_error_code, rd_kafka_event_DescribeTopics_result, rd_kafka_event_destroy,
    rd_kafka_event_error, rd_kafka_event_t, rd_kafka_message_destroy, rd_kafka_message_t,
    rd_kafka_message_timestamp, rd_kafka_queue_destroy, rd_kafka_queue_get_consumer,
    rd_kafka_queue_new, rd_kafka_queue_poll, rd_kafka_queue_t, rd_kafka_resp_err_t,
    rd_kafka_timestamp_type_t, rd_kafka_topic_name,
};
use rdkafka::consumer::Consumer as _;
use rdkafka::message::Timestamp;

use super::{Code, Consumer, Error, Partition};

/// The most records of a batch.
const BATCH: usize = 1024;

/// A consumer whose records are taken by the batch.
pub struct Messages {
    consumer: Consumer,
    /// The consumer's own queue: given back before the consumer ends.
    queue: NonNull<rd_kafka_queue_t>,
    batch: Vec<*mut rd_kafka_message_t>,
}

// SAFETY: librdkafka's queues may be used by any thread, and nothing here is shared: a poll takes
// `&mut self`. The pointers of the batch are null between polls.
unsafe impl Send for Messages {}

/// What was found in a partition.
#[derive(Debug)]
pub struct Found<'a> {
    /// The topic's name.
    pub topic: &'a [u8],
    /// The partition's number.
    pub partition: i32,
    /// Where: the record's offset; at the end, that of the record to come.
    pub offset: i64,
    /// What.
    pub what: What<'a>,
}

/// What may be found in a partition.
#[derive(Debug)]
pub enum What<'a> {
    /// A record.
    Record {
        /// Its date.
        timestamp: Timestamp,
        /// Its bytes; none in a tombstone.
        value: Option<&'a [u8]>,
    },
    /// The end, at least for now; told once each time that it is reached.
    End,
    /// It cannot be read on by itself.
    Failed(Code),
}

impl Messages {
    pub(super) fn new(consumer: Consumer) -> Messages {
        // SAFETY: the client lives as long as `consumer`, which this struct keeps.
        let queue = unsafe { rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        let queue = NonNull::new(queue).expect("a consumer with a group has a queue");
        Messages { consumer, queue, batch: vec![null_mut(); BATCH] }
    }

    /// Reads these partitions from these offsets on, and no others.
    ///
    /// # Errors
    ///
    /// If the client refuses.
    pub fn read<'a>(
        &self,
        from: impl IntoIterator<Item = (&'a Partition, u64)>,
    ) -> Result<(), Error> {
        self.consumer.read(from)
    }

    /// Calls `each` with what comes, so many at most, in order within a partition. Waits for the first
    /// so long, and for no more. Says how many there were.
    pub fn poll(
        &mut self,
        patience: Duration,
        most: usize,
        mut each: impl FnMut(Found<'_>),
    ) -> usize {
        let most = most.clamp(1, BATCH);
        // Rounded up: a wait of nothing, repeated, would spin.
        let patience = patience.as_micros().div_ceil(1000).try_into().unwrap_or(c_int::MAX);
        let mut found = self.take(0, 1, patience);
        if found == 1 {
            found += self.take(1, most - 1, 0);
        }
        for message in &mut self.batch[..found] {
            let message = std::mem::replace(message, null_mut());
            // SAFETY: the queue gave a message that is ours until it is destroyed, which nothing does
            // before the next line but one; what is lent to `each` cannot outlive its call.
            each(unsafe { found_in(&*message) });
            // SAFETY: as above; the pointer was taken out of the batch, and is not used again.
            unsafe { rd_kafka_message_destroy(message) };
        }
        found
    }

    /// Takes so many messages at most into the batch from there on.
    fn take(&mut self, from: usize, most: usize, patience: c_int) -> usize {
        let room = &mut self.batch[from..from + most];
        // SAFETY: the queue is alive, and there is room for so many pointers.
        let taken = unsafe {
            let (queue, room) = (self.queue.as_ptr(), (room.as_mut_ptr(), room.len()));
            rd_kafka_consume_batch_queue(queue, patience, room.0, room.1)
        };
        // Negative only where the queue is none of a consumer's.
        usize::try_from(taken).expect("the queue is a consumer's")
    }
}

/// Looks at a message.
///
/// # Safety
///
/// It must be one that a queue gave, and stay so while the result lives.
unsafe fn found_in(message: &rd_kafka_message_t) -> Found<'_> {
    let topic: &[u8] = if message.rkt.is_null() {
        &[]
    } else {
        // SAFETY: a message keeps its topic alive, and the name of a topic ends with a zero.
        unsafe { CStr::from_ptr(rd_kafka_topic_name(message.rkt)) }.to_bytes()
    };
    let what = match message.err {
        rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => What::Record {
            // SAFETY: the caller vouches for the message.
            timestamp: unsafe { timestamp(message) },
            // SAFETY: the bytes belong to the message and are as long as it says.
            value: unsafe { bytes(message.payload, message.len) },
        },
        rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => What::End,
        code => What::Failed(code.into()),
    };
    Found { topic, partition: message.partition, offset: message.offset, what }
}

/// # Safety
///
/// As [`found_in`].
unsafe fn timestamp(message: &rd_kafka_message_t) -> Timestamp {
    let mut kind = rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the caller vouches for the message; `kind` is written and not kept.
    let milliseconds = unsafe { rd_kafka_message_timestamp(message, &raw mut kind) };
    match kind {
        rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => {
            Timestamp::CreateTime(milliseconds)
        }
        rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => {
            Timestamp::LogAppendTime(milliseconds)
        }
        rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => Timestamp::NotAvailable,
    }
}

/// # Safety
///
/// If the pointer is not null, so many bytes stand there while the result lives.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller vouches for it.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), length) })
}

impl Drop for Messages {
    fn drop(&mut self) {
        // SAFETY: it was got once, is given back once, and the client is still there.
        unsafe { rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// A handle that librdkafka gives and takes back.
struct Handle<T>(NonNull<T>, unsafe extern "C" fn(*mut T));

impl<T> Handle<T> {
    /// Keeps a handle that was made just now, and is given back by `end` when this is dropped.
    fn new(made: *mut T, end: unsafe extern "C" fn(*mut T)) -> Option<Handle<T>> {
        Some(Handle(NonNull::new(made)?, end))
    }

    fn get(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        // SAFETY: it was made once, by the counterpart of the function that ends it, and ends once.
        unsafe { self.1(self.0.as_ptr()) };
    }
}

/// Asks for the ids of topics, by name; 0 where the servers give topics none.
pub(super) fn topic_ids(
    consumer: &Consumer,
    topics: &[&str],
    patience: Duration,
) -> Result<BTreeMap<String, u128>, Code> {
    let client = consumer.client().native_ptr();
    let names: Result<Vec<_>, _> = topics.iter().map(|topic| CString::new(*topic)).collect();
    let names = names.map_err(|_| Code::InvalidTopic)?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let patience = c_int::try_from(patience.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: the names outlive the call, which copies them.
    let names =
        unsafe { rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()) };
    let names =
        Handle::new(names, rd_kafka_TopicCollection_destroy).ok_or(Code::InvalidArgument)?;
    let kind = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: the client is alive: `consumer` keeps it.
    let options = unsafe { rd_kafka_AdminOptions_new(client, kind) };
    let options = Handle::new(options, rd_kafka_AdminOptions_destroy).ok_or(Code::Fail)?;
    // SAFETY: the options are alive; no text of an error is asked for.
    let set = unsafe {
        rd_kafka_AdminOptions_set_request_timeout(options.get(), patience, null_mut(), 0)
    };
    checked(set)?;
    // SAFETY: the client is alive.
    let queue = unsafe { rd_kafka_queue_new(client) };
    let queue = Handle::new(queue, rd_kafka_queue_destroy).ok_or(Code::Fail)?;
    // SAFETY: all four are alive; what is asked is copied, and the answer comes into the queue.
    unsafe { rd_kafka_DescribeTopics(client, names.get(), options.get(), queue.get()) };
    // The request's own time ends first. SAFETY: the queue is alive.
    let answer = unsafe { rd_kafka_queue_poll(queue.get(), patience.saturating_add(1000)) };
    let answer = Handle::new(answer, rd_kafka_event_destroy).ok_or(Code::OperationTimedOut)?;
    ids_in(&answer)
}

fn ids_in(answer: &Handle<rd_kafka_event_t>) -> Result<BTreeMap<String, u128>, Code> {
    // SAFETY: the event is alive.
    checked(unsafe { rd_kafka_event_error(answer.get()) })?;
    // SAFETY: as above; the result belongs to the event.
    let result = unsafe { rd_kafka_event_DescribeTopics_result(answer.get()) };
    if result.is_null() {
        return Err(Code::Fail);
    }
    let mut count = 0;
    // SAFETY: the result lives as long as the event; the array has as many topics as it says.
    let topics = unsafe {
        let topics = rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if count == 0 { &[] } else { std::slice::from_raw_parts(topics, count) }
    };
    topics.iter().map(|topic| id_of(*topic)).collect()
}

fn id_of(topic: *const rd_kafka_TopicDescription_t) -> Result<(String, u128), Code> {
    // SAFETY: the description is one of a living event's, and so are its error, name and id.
    unsafe {
        checked(rd_kafka_error_code(rd_kafka_TopicDescription_error(topic)))?;
        let id = rd_kafka_TopicDescription_topic_id(topic);
        let high = rd_kafka_Uuid_most_significant_bits(id).cast_unsigned();
        let low = rd_kafka_Uuid_least_significant_bits(id).cast_unsigned();
        let name = CStr::from_ptr(rd_kafka_TopicDescription_name(topic));
        Ok((name.to_string_lossy().into_owned(), u128::from(high) << 64 | u128::from(low)))
    }
}

fn checked(code: rd_kafka_resp_err_t) -> Result<(), Code> {
    if code == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR { Ok(()) } else { Err(code.into()) }
}
