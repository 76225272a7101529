package broker

import (
	"fmt"
	"time"
)

// Capabilities are the promises that not every broker can make. The zero value
// promises none of them.
type Capabilities struct {
	// Persistent: what Publish took outlives a restart of the broker.
	Persistent bool
	// Redelivery: a delivery that is refused, or not settled in time, comes
	// again. Without it, a message is delivered at most once, and settling
	// only makes room for others.
	Redelivery bool
	// Ordered: messages are first delivered in the order of their publishing.
	Ordered bool
	// Groups: subscriptions can share the messages of a topic.
	Groups bool
	// LastingGroups: a group keeps its place. What is published while nobody of
	// the group subscribes, and what one who leaves has not settled, is
	// delivered to the next.
	LastingGroups bool
	// History: the broker keeps messages and knows their positions, so that a
	// subscription may begin with what was published before it, and has no gap
	// after a loss of contact.
	History bool
	// Dedup is for how long a topic knows the IDs of messages; 0 is not at all.
	Dedup time.Duration
	// MaxMessage is the size in bytes of the largest message that the broker
	// takes, as [Message.Size] has it; 0 is not known. A header may be bounded
	// more tightly, from 32 KiB on.
	MaxMessage int
}

// Missing returns a sentence for each promise that c lacks, for those who are
// to know what they rely on.
func (c Capabilities) Missing() []string {
	var missing []string
	add := func(lacks bool, sentence string) {
		if lacks {
			missing = append(missing, sentence)
		}
	}
	add(!c.Persistent, "messages do not outlive a restart of the broker")
	add(!c.Redelivery, "messages are delivered at most once")
	add(!c.Ordered, "messages may be delivered in another order than they were published in")
	add(!c.Groups, "subscriptions cannot share messages in groups")
	add(c.Groups && !c.LastingGroups, "a group misses what is published while nobody of it subscribes")
	add(!c.History, "there is no history: what is published while nobody subscribes is gone")
	add(c.Dedup == 0, "a message that is published twice is delivered twice")
	return missing
}

// require returns ErrOptions if the options need what c lacks.
func (c Capabilities) require(o SubscribeOptions) error {
	switch {
	case o.Group != "" && !c.Groups:
		return fmt.Errorf("%w: this broker has no groups", ErrOptions)
	case o.Start != (Start{}) && !c.History:
		return fmt.Errorf("%w: this broker has no history: a subscription can only start now", ErrOptions)
	}
	return nil
}
