package push

import "time"

// A DeadLetter is a message that was given up. It is kept as a message on a
// topic of its own, with body and header of the original, and with header fields
// that begin with Goapi-Dead-Letter.
type DeadLetter struct {
	// ID is the dead letter's own.
	ID string `json:"id"`
	// Service is who the message was for, and Endpoint where it was to go.
	Service  string `json:"service"`
	Endpoint string `json:"endpoint"`
	// Topic is where the message was published, MessageID its ID, and Published
	// its time.
	Topic     string    `json:"topic"`
	MessageID string    `json:"message_id"`
	Published time.Time `json:"published"`
	// Reason is a line that says why the last attempt failed.
	Reason string `json:"reason"`
	// Attempts is how many there were, and Time when the message was given up.
	Attempts int       `json:"attempts"`
	Time     time.Time `json:"time"`
	// Size is that of the body, in bytes.
	Size int `json:"size"`
	// Header and Body are the message's. A list leaves them out.
	Header map[string]string `json:"header,omitempty"`
	Body   []byte            `json:"body,omitempty"`
}

// DeadLetterList is a list of dead letters.
type DeadLetterList struct {
	// DeadLetters are those that nobody has replayed, the oldest first.
	DeadLetters []*DeadLetter `json:"dead_letters"`
	// More is how many older ones there are, beyond the newest 1,000.
	More int `json:"more"`
}
