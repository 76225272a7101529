// Package brokertest holds what every broker promises, as a test suite.
//
// The test of a broker calls [Run] with a function that opens one on an empty
// system:
//
//	func TestMemory(t *testing.T) {
//		brokertest.Run(t, func(testing.TB) broker.Broker { return new(broker.Memory) }, nil)
//	}
//
// Which promises are tested follows from the broker's own capabilities. What
// must happen is waited for, up to a deadline; what must not happen is given a
// moment to happen.
package brokertest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

// Options say how to test a broker. A nil *Options means all defaults.
type Options struct {
	// MinAckWait is the shortest AckWait, and the shortest delay of a Nack, that
	// the broker can keep. Default: 1 s.
	MinAckWait time.Duration
	// Deadline bounds the wait for anything that must happen. Default: 25 s, which
	// is less than [broker.DefaultAckWait]: what was lost must not come back in
	// time.
	Deadline time.Duration
	// Quiet is how long something that must not happen is given to happen.
	// Default: 50 ms.
	Quiet time.Duration
	// Another opens the system of b once more, as another process would.
	// Default: b serves in its place.
	Another func(t testing.TB, b broker.Broker) broker.Broker
	// Stop takes the system behind b away, as a crash would, and returns a
	// function that starts it again with what it kept. Default: it cannot go
	// away.
	Stop func(t testing.TB, b broker.Broker) (start func())
	// Cut has b lose its connection while the system and Another, which it
	// needs, stay: from its call on, nothing reaches b that the system sends it,
	// and the function that it returns ends the connection, and lets b find
	// another. Default: it cannot be cut.
	Cut func(t testing.TB, b broker.Broker) (end func())
	// Settle is how long after an Ack a crash may make the broker forget it.
	// Default: not at all.
	Settle time.Duration
	// History is a number of small messages after which the first is gone.
	// Default: no number that a test could publish.
	History int
	// FakeClock runs each test in a bubble of testing/synctest, for brokers
	// that live in the test's process. Default: the clock is real.
	FakeClock bool
}

func (o *Options) orDefault() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.MinAckWait == 0 {
		d.MinAckWait = time.Second
	}
	if d.Deadline == 0 {
		d.Deadline = 25 * time.Second
	}
	if d.Quiet == 0 {
		d.Quiet = 50 * time.Millisecond
	}
	if d.Another == nil {
		d.Another = func(_ testing.TB, b broker.Broker) broker.Broker { return b }
	}
	return d
}

// An OpenFunc opens a broker on an empty system. It closes what it opened with
// t.Cleanup.
type OpenFunc func(t testing.TB) broker.Broker

// Run tests a broker, each promise in a sub-test of its own. It calls open for
// each.
func Run(t *testing.T, open OpenFunc, opts *Options) {
	t.Helper()
	o := opts.orDefault()
	for _, p := range promises() {
		t.Run(p.name, func(t *testing.T) {
			run := func(t *testing.T) {
				t.Helper()
				b := open(t)
				if c := newCheck(t, b, open, o); p.needs == nil || p.needs(c) {
					p.keep(c)
				}
			}
			if o.FakeClock {
				synctest.Test(t, run)
				return
			}
			run(t)
		})
	}
}

// A promise is something that a broker keeps. Its function fails the check when
// it does not.
type promise struct {
	name  string
	needs func(c *check) bool // says who makes it; nil is all
	keep  func(c *check)
}

func promises() []promise { return append(usePromises(), lossPromises()...) }

// usePromises are about what a broker does while nothing happens to it.
func usePromises() []promise {
	redelivers := func(c *check) bool { return c.caps.Redelivery }
	groups := func(c *check) bool { return c.caps.Groups }
	lasting := func(c *check) bool { return c.caps.LastingGroups }
	history := func(c *check) bool { return c.caps.History }
	dedup := func(c *check) bool { return c.caps.Dedup > 0 }
	return []promise{
		{"PublishIsDelivered", nil, publishIsDelivered},
		{"PublishKeepsItsOwnCopy", nil, publishKeepsItsOwnCopy},
		{"PublishMakesWhatIsMissing", nil, publishMakesWhatIsMissing},
		{"PublishHonoursContext", nil, publishHonoursContext},
		{"BodiesAreKept", nil, bodiesAreKept},
		{"HeadersAreKept", nil, headersAreKept},
		{"RejectsBadTopics", nil, rejectsBadTopics},
		{"RejectsBadMessages", nil, rejectsBadMessages},
		{"RejectsBadOptions", nil, rejectsBadOptions},
		{"TooLargeIsErrTooLarge", func(c *check) bool { return c.caps.MaxMessage > 0 }, tooLargeIsErrTooLarge},
		{"TopicsAreSeparate", nil, topicsAreSeparate},
		{"EverySubscriptionGetsAll", nil, everySubscriptionGetsAll},
		{"SubscribeStartsNow", nil, subscribeStartsNow},
		{"OrderIsKept", func(c *check) bool { return c.caps.Ordered }, orderIsKept},
		{"SameIDIsPublishedOnce", dedup, sameIDIsPublishedOnce},
		{"IDsAreForgotten", func(c *check) bool { return c.caps.Dedup > 0 && c.opts.FakeClock }, idsAreForgotten},

		{"NextHonoursContext", nil, nextHonoursContext},
		{"CloseUnblocksNext", nil, closeUnblocksNext},
		{"InFlightIsBounded", nil, inFlightIsBounded},
		{"OverdueMakesRoom", nil, overdueMakesRoom},
		{"SettledTwiceIsErrSettled", nil, settledTwiceIsErrSettled},
		{"SettledAfterCloseIsErrClosed", nil, settledAfterCloseIsErrClosed},
		{"AckEndsIt", redelivers, ackEndsIt},
		{"TermEndsIt", redelivers, termEndsIt},
		{"NackBringsItAgain", redelivers, nackBringsItAgain},
		{"NackWaits", redelivers, nackWaits},
		{"OverdueComesAgain", redelivers, overdueComesAgain},
		{"WaitingIsNotOverdue", redelivers, waitingIsNotOverdue},

		{"GroupsShare", groups, groupsShare},
		{"GroupsAreSeparate", groups, groupsAreSeparate},
		{"GroupsKeepTheirPlace", lasting, groupsKeepTheirPlace},
		{"GroupsTakeOver", lasting, groupsTakeOver},

		{"HistoryStartsEarliest", history, historyStartsEarliest},
		{"LastIsTheEnd", history, lastIsTheEnd},
		{"HistoryStartsAfter", history, historyStartsAfter},
		{"HistoryStartsSince", history, historyStartsSince},
		{"UnknownPositionIsErrPosition", history, unknownPositionIsErrPosition},
		{"OldPositionIsErrPosition", func(c *check) bool { return c.caps.History && c.opts.History > 0 }, oldPositionIsErrPosition},

		{"ConcurrentUse", nil, concurrentUse},
	}
}

// lossPromises are about losses of contact.
func lossPromises() []promise {
	lasting := func(c *check) bool { return c.caps.LastingGroups }
	dedup := func(c *check) bool { return c.caps.Dedup > 0 }
	stops := func(c *check) bool { return c.opts.Stop != nil }
	restarts := func(c *check) bool { return c.opts.Stop != nil && c.caps.Persistent }
	cuts := func(c *check) bool { return c.opts.Cut != nil && (c.caps.History || c.caps.LastingGroups) }
	return []promise{
		{"PublishWithoutContactIsErrUnavailable", stops, publishWithoutContactIsErrUnavailable},
		{"NextTellsOfLossOnce", stops, nextTellsOfLossOnce},
		{"CutLosesNothing", cuts, cutLosesNothing},
		{"SubscriptionsResume", restarts, subscriptionsResume},
		{"RestartKeepsMessages", restarts, restartKeepsMessages},
		{"RestartKeepsGroups", func(c *check) bool { return restarts(c) && lasting(c) }, restartKeepsGroups},
		{"RestartKeepsIDs", func(c *check) bool { return restarts(c) && dedup(c) }, restartKeepsIDs},
		{"RestartUnderLoad", func(c *check) bool { return restarts(c) && c.caps.Redelivery }, restartUnderLoad},
	}
}
