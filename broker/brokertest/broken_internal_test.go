package brokertest

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/goapi-dev/goapi/broker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fault breaks a promise.
type fault struct {
	name    string
	promise string
	install func(f *faulty)
}

// TestBrokenBrokersFail holds the suite to its word: each promise fails on a
// broker that does not keep it.
func TestBrokenBrokersFail(t *testing.T) {
	all := promises()
	failed := make(map[string]bool)
	for _, tt := range slices.Concat(publishFaults(), settleFaults(), groupFaults(), historyFaults(), restartFaults()) {
		t.Run(tt.name, func(t *testing.T) {
			i := slices.IndexFunc(all, func(p promise) bool { return p.name == tt.promise })
			if i < 0 {
				t.Fatalf("there is no promise %s", tt.promise)
			}
			failures := try(t, all[i], tt.install)
			if len(failures) == 0 {
				t.Errorf("%s = no failure, want one on a broker that %s", tt.promise, tt.name)
			}
			for _, failure := range failures {
				t.Log(failure)
			}
			failed[tt.promise] = true
		})
	}
	for _, p := range all {
		if !failed[p.name] {
			t.Errorf("nothing shows that %s can fail", p.name)
		}
	}
}

// TestRecorder shows that a promise that is kept records no failure.
func TestRecorder(t *testing.T) {
	for _, p := range promises() {
		if failures := try(t, p, func(*faulty) {}); len(failures) > 0 {
			t.Errorf("%s on a broker without a fault = %q, want no failure", p.name, failures)
		}
	}
}

func publishFaults() []fault {
	return []fault{
		{"loses messages", "PublishIsDelivered", func(f *faulty) {
			f.publish = func(context.Context, string, *broker.Message) error { return nil }
		}},
		{"drops the time", "PublishIsDelivered", func(f *faulty) {
			f.receive = func(d *broker.Delivery) { d.Time = time.Now() }
		}},
		{"counts attempts from 0", "PublishIsDelivered", func(f *faulty) {
			f.receive = func(d *broker.Delivery) { d.Attempt-- }
		}},
		{"keeps what the caller may change", "PublishKeepsItsOwnCopy", func(f *faulty) {
			var kept *broker.Message
			f.publish = func(ctx context.Context, topic string, m *broker.Message) error {
				kept = m
				return f.keep(ctx, topic, m)
			}
			f.receive = func(d *broker.Delivery) { d.Body = kept.Body }
		}},
		{"gives messages the same ID", "PublishMakesWhatIsMissing", func(f *faulty) {
			f.receive = func(d *broker.Delivery) { d.ID = "same" }
		}},
		{"publishes when nobody wants it", "PublishHonoursContext", func(f *faulty) {
			f.publish = func(ctx context.Context, topic string, m *broker.Message) error {
				return errors.Join(f.keep(context.WithoutCancel(ctx), topic, m), ctx.Err())
			}
		}},
		{"carries text", "BodiesAreKept", func(f *faulty) {
			f.receive = func(d *broker.Delivery) { d.Body = []byte(strings.ToValidUTF8(string(d.Body), "?")) }
		}},
		{"folds names", "HeadersAreKept", func(f *faulty) {
			f.receive = func(d *broker.Delivery) {
				folded := make(map[string]string)
				for name, value := range d.Header {
					folded[textproto.CanonicalMIMEHeaderKey(name)] = value
				}
				d.Header = folded
			}
		}},
		{"takes headers for its own", "HeadersAreKept", func(f *faulty) {
			f.receive = func(d *broker.Delivery) {
				delete(d.Header, "Nats-TTL")
			}
		}},
		{"publishes to wildcards", "RejectsBadTopics", func(f *faulty) {
			f.publish = func(ctx context.Context, topic string, m *broker.Message) error {
				if strings.HasSuffix(topic, ".>") {
					topic = "orders.new"
				}
				return f.keep(ctx, topic, m)
			}
		}},
		{"refuses without saying what", "RejectsBadTopics", func(f *faulty) {
			f.subscribe = func(ctx context.Context, topic string, o *broker.SubscribeOptions) (broker.Subscription, error) {
				s, err := f.open(ctx, topic, o)
				if err != nil {
					return nil, errors.New("no")
				}
				return s, nil
			}
		}},
		{"publishes what is left of a bad message", "RejectsBadMessages", func(f *faulty) {
			f.publish = func(ctx context.Context, topic string, m *broker.Message) error {
				if err := f.keep(ctx, topic, m); m == nil || !errors.Is(err, broker.ErrMessage) {
					return err
				}
				return f.keep(ctx, topic, &broker.Message{Body: m.Body})
			}
		}},
		{"ignores options that it does not understand", "RejectsBadOptions", func(f *faulty) {
			f.subscribe = func(ctx context.Context, topic string, o *broker.SubscribeOptions) (broker.Subscription, error) {
				s, err := f.open(ctx, topic, o)
				if errors.Is(err, broker.ErrOptions) {
					return f.open(ctx, topic, nil)
				}
				return s, err
			}
		}},
		{"drops what is large", "TooLargeIsErrTooLarge", func(f *faulty) {
			f.publish = func(ctx context.Context, topic string, m *broker.Message) error {
				if m.Size() > f.Capabilities().MaxMessage {
					return nil
				}
				return f.keep(ctx, topic, m)
			}
		}},
		{"leaks messages of other topics", "TopicsAreSeparate", func(f *faulty) {
			f.publish = func(ctx context.Context, topic string, m *broker.Message) error {
				return f.keep(ctx, strings.ReplaceAll(topic, "/", "."), m)
			}
		}},
		{"cuts topics", "TopicsAreSeparate", func(f *faulty) {
			f.publish = func(ctx context.Context, topic string, m *broker.Message) error {
				return f.keep(ctx, topic[:min(len(topic), broker.MaxTopic-1)], m)
			}
		}},
		{"gives each message to one", "EverySubscriptionGetsAll", func(f *faulty) { f.regroup(func(string) string { return "all" }) }},
		{"starts with what was before", "SubscribeStartsNow", func(f *faulty) { f.restartAt(broker.Start{Earliest: true}) }},
		{"starts some time later", "SubscribeStartsNow", func(f *faulty) {
			f.publish = func(ctx context.Context, topic string, m *broker.Message) error {
				if f.count("publish") > 3 && f.count("late") == 1 {
					return nil
				}
				return f.keep(ctx, topic, m)
			}
		}},
		{"publishes in pairs, the later first", "OrderIsKept", func(f *faulty) {
			var held *broker.Message
			f.publish = func(ctx context.Context, topic string, m *broker.Message) error {
				if held == nil {
					held = m
					return nil
				}
				first := held
				held = nil
				return errors.Join(f.keep(ctx, topic, m), f.keep(ctx, topic, first))
			}
		}},
		{"does not know IDs", "SameIDIsPublishedOnce", func(f *faulty) { f.rename(func() string { return fmt.Sprint(f.count("publish")) }) }},
		{"knows IDs whatever the topic", "SameIDIsPublishedOnce", func(f *faulty) {
			f.publish = func(ctx context.Context, topic string, m *broker.Message) error {
				if f.count(m.ID) > 1 {
					return nil
				}
				return f.keep(ctx, topic, m)
			}
		}},
		{"joins topic and ID", "SameIDIsPublishedOnce", func(f *faulty) {
			f.publish = func(ctx context.Context, topic string, m *broker.Message) error {
				if f.count(topic+"."+m.ID) > 1 {
					return nil
				}
				return f.keep(ctx, topic, m)
			}
		}},
		{"knows IDs forever", "IDsAreForgotten", func(f *faulty) {
			f.publish = func(ctx context.Context, topic string, m *broker.Message) error {
				if f.count(m.ID) > 1 {
					return nil
				}
				return f.keep(ctx, topic, m)
			}
		}},
		{"publishes twice", "ConcurrentUse", func(f *faulty) {
			f.rename(func() string { return fmt.Sprint(f.count("publish")) })
			once := f.publish
			f.publish = func(ctx context.Context, topic string, m *broker.Message) error {
				return errors.Join(once(ctx, topic, m), once(ctx, topic, m))
			}
		}},
	}
}

func settleFaults() []fault {
	early := func(f *faulty) {
		f.receive = func(d *broker.Delivery) { _ = d.Ack(context.Background()) }
		f.settler = indifferent
	}
	return []fault{
		{"ends a subscription with its opening", "NextHonoursContext", func(f *faulty) {
			f.subscribe = func(ctx context.Context, topic string, o *broker.SubscribeOptions) (broker.Subscription, error) {
				s, err := f.open(ctx, topic, o)
				if err == nil {
					context.AfterFunc(ctx, func() { _ = s.Close() })
				}
				return s, err
			}
		}},
		{"loses a message to a canceled context", "NextHonoursContext", func(f *faulty) {
			f.next = func(ctx context.Context, s *faultySubscription) (*broker.Delivery, error) {
				if errors.Is(ctx.Err(), context.Canceled) {
					_, _ = s.follow(context.WithoutCancel(ctx))
				}
				return s.follow(ctx)
			}
		}},
		{"does not close", "CloseUnblocksNext", func(f *faulty) {
			f.close = func(*faultySubscription) error { return nil }
		}},
		{"ignores the in-flight limit", "InFlightIsBounded", func(f *faulty) {
			f.options(func(o *broker.SubscribeOptions) { o.InFlight = broker.MaxInFlight })
		}},
		{"makes no room", "OverdueMakesRoom", func(f *faulty) {
			f.options(func(o *broker.SubscribeOptions) { o.AckWait = time.Hour })
		}},
		{"cannot give up", "SettledTwiceIsErrSettled", func(f *faulty) {
			f.settler = func(s broker.Settler) broker.Settler {
				return &settler{Settler: s, term: func(context.Context, string) error { return errors.New("no") }}
			}
		}},
		{"settles into the void", "SettledAfterCloseIsErrClosed", func(f *faulty) {
			f.settler = indifferent
		}},
		{"does not hear Ack", "AckEndsIt", func(f *faulty) {
			f.settler = indifferent
		}},
		{"takes Term for Nack", "TermEndsIt", func(f *faulty) {
			f.settler = func(s broker.Settler) broker.Settler {
				return &settler{Settler: s, term: func(ctx context.Context, _ string) error { return s.Nack(ctx, time.Millisecond) }}
			}
		}},
		{"acknowledges early", "NackBringsItAgain", early},
		{"counts no attempts", "NackBringsItAgain", func(f *faulty) {
			f.receive = func(d *broker.Delivery) { d.Attempt = 1 }
		}},
		{"does not wait", "NackWaits", func(f *faulty) {
			f.settler = func(s broker.Settler) broker.Settler {
				return &settler{Settler: s, nack: func(ctx context.Context, _ time.Duration) error { return s.Nack(ctx, 0) }}
			}
		}},
		{"acknowledges what is overdue", "OverdueComesAgain", early},
		{"is impatient", "OverdueComesAgain", func(f *faulty) {
			f.options(func(o *broker.SubscribeOptions) { o.AckWait /= 2 })
		}},
		{"takes what waits for overdue", "WaitingIsNotOverdue", setAside},
	}
}

// setAside has Next set aside what there is, and its time run.
func setAside(f *faulty) {
	aside := make(map[*faultySubscription][]*broker.Delivery)
	f.next = func(ctx context.Context, s *faultySubscription) (*broker.Delivery, error) {
		for {
			at, cancel := ctx, context.CancelFunc(func() {})
			if len(aside[s]) > 0 {
				at, cancel = context.WithTimeout(ctx, time.Microsecond)
			}
			d, err := s.follow(at)
			cancel()
			switch {
			case err == nil:
				aside[s] = append(aside[s], d)
			case len(aside[s]) == 0:
				return nil, err
			default:
				d, aside[s] = aside[s][0], aside[s][1:]
				return d, nil
			}
		}
	}
}

func groupFaults() []fault {
	return []fault{
		{"gives each message to all of a group", "GroupsShare", func(f *faulty) { f.regroup(func(string) string { return "" }) }},
		{"folds groups", "GroupsAreSeparate", func(f *faulty) { f.regroup(strings.ToLower) }},
		{"cuts groups", "GroupsAreSeparate", func(f *faulty) { f.regroup(func(g string) string { return g[:min(len(g), 64)] }) }},
		{"forgets the place of a group", "GroupsKeepTheirPlace", func(f *faulty) {
			f.regroup(func(g string) string { return fmt.Sprint(g, f.count(g)) })
		}},
		{"starts a group anew", "GroupsKeepTheirPlace", func(f *faulty) {
			f.regroup(func(g string) string { return fmt.Sprint(g, f.count(g)) })
			f.restartAt(broker.Start{Earliest: true})
		}},
		{"loses what one who leaves has in flight", "GroupsTakeOver", func(f *faulty) {
			f.close = func(s *faultySubscription) error {
				for _, d := range s.held {
					_ = d.Ack(context.Background())
				}
				return s.end()
			}
		}},
	}
}

func historyFaults() []fault {
	anywhere := func(f *faulty) {
		f.subscribe = func(ctx context.Context, topic string, o *broker.SubscribeOptions) (broker.Subscription, error) {
			s, err := f.open(ctx, topic, o)
			if errors.Is(err, broker.ErrPosition) {
				return f.open(ctx, topic, &broker.SubscribeOptions{Start: broker.Start{Earliest: true}})
			}
			return s, err
		}
	}
	return []fault{
		{"has no past", "HistoryStartsEarliest", func(f *faulty) { f.restartAt(broker.Start{}) }},
		{"knows the end of all topics only", "LastIsTheEnd", func(f *faulty) {
			f.last = func(ctx context.Context, topic string) (string, error) {
				if err := broker.CheckTopic(topic); err != nil {
					return "", err
				}
				last, err := f.end(ctx, "other")
				if last == "" {
					last, err = f.end(ctx, topic)
				}
				return last, err
			}
		}},
		{"has an end where there is nothing", "LastIsTheEnd", func(f *faulty) {
			f.last = func(context.Context, string) (string, error) { return "0", nil }
		}},
		{"begins with what was delivered", "HistoryStartsAfter", func(f *faulty) { f.restartAt(broker.Start{Earliest: true}) }},
		{"skips one", "HistoryStartsAfter", func(f *faulty) {
			var last string
			f.receive = func(d *broker.Delivery) { last, d.Position = d.Position, last }
		}},
		{"does not know the time", "HistoryStartsSince", func(f *faulty) {
			f.options(func(o *broker.SubscribeOptions) {
				if !o.Start.Since.IsZero() {
					o.Start = broker.Start{Earliest: true}
				}
			})
		}},
		{"takes any position", "UnknownPositionIsErrPosition", anywhere},
		{"hides a gap", "OldPositionIsErrPosition", anywhere},
	}
}

func restartFaults() []fault {
	return []fault{
		{"takes what it cannot keep", "PublishWithoutContactIsErrUnavailable", func(f *faulty) {
			f.publish = func(ctx context.Context, topic string, m *broker.Message) error {
				if err := f.keep(ctx, topic, m); !errors.Is(err, broker.ErrUnavailable) {
					return err
				}
				return nil
			}
		}},
		{"hides a loss", "NextTellsOfLossOnce", func(f *faulty) {
			f.next = func(ctx context.Context, s *faultySubscription) (*broker.Delivery, error) {
				s.told = true
				return s.follow(ctx)
			}
		}},
		{"tells of a loss again and again", "NextTellsOfLossOnce", func(f *faulty) {
			f.next = func(ctx context.Context, s *faultySubscription) (*broker.Delivery, error) {
				s.told = false
				return s.follow(ctx)
			}
		}},
		{"takes what it sent for received", "CutLosesNothing", func(f *faulty) {
			f.acks, f.trusts = true, func(*faultySubscription) bool { return true }
		}},
		{"takes what it sent to a group for received", "CutLosesNothing", func(f *faulty) {
			f.acks, f.trusts = true, func(s *faultySubscription) bool { return s.opts.Group != "" }
		}},
		{"brings late what it sent, out of order", "CutLosesNothing", func(f *faulty) {
			f.trusts = func(*faultySubscription) bool { return true }
		}},
		{"leaves a gap", "SubscriptionsResume", func(f *faulty) {
			f.restart = func() { f.resubscribe(nil) }
		}},
		{"forgets its messages", "RestartKeepsMessages", func(f *faulty) {
			f.restart = func() {
				f.mu.Lock()
				f.memory = new(broker.Memory)
				f.mu.Unlock()
				f.resubscribe(nil)
			}
		}},
		{"forgets its groups", "RestartKeepsGroups", func(f *faulty) {
			f.restart = func() { f.count("restarts") }
			f.regroup(func(g string) string { return fmt.Sprint(g, f.counts["restarts"]) })
		}},
		{"forgets IDs", "RestartKeepsIDs", func(f *faulty) {
			f.restart = func() { f.count("restarts") }
			f.rename(func() string { return fmt.Sprint(f.counts["restarts"]) })
		}},
		{"loses a message in a restart", "RestartUnderLoad", func(f *faulty) {
			lose := make(chan struct{}, 8)
			f.restart = func() { lose <- struct{}{} }
			f.publish = func(ctx context.Context, topic string, m *broker.Message) error {
				select {
				case <-lose:
					return nil
				default:
					return f.keep(ctx, topic, m)
				}
			}
		}},
	}
}

// indifferent hears nothing.
func indifferent(s broker.Settler) broker.Settler {
	return &settler{
		Settler: s,
		ack:     func(context.Context) error { return nil },
		nack:    func(context.Context, time.Duration) error { return nil },
		term:    func(context.Context, string) error { return nil },
	}
}

// options changes the options of subscriptions.
func (f *faulty) options(change func(o *broker.SubscribeOptions)) {
	f.subscribe = func(ctx context.Context, topic string, o *broker.SubscribeOptions) (broker.Subscription, error) {
		var changed broker.SubscribeOptions
		if o != nil {
			changed = *o
		}
		change(&changed)
		return f.open(ctx, topic, &changed)
	}
}

// regroup changes the names of groups.
func (f *faulty) regroup(group func(string) string) {
	f.options(func(o *broker.SubscribeOptions) { o.Group = group(o.Group) })
}

// restartAt changes where subscriptions start.
func (f *faulty) restartAt(s broker.Start) {
	before := f.subscribe
	if before == nil {
		before = f.open
	}
	f.subscribe = func(ctx context.Context, topic string, o *broker.SubscribeOptions) (broker.Subscription, error) {
		var changed broker.SubscribeOptions
		if o != nil {
			changed = *o
		}
		changed.Start = s
		return before(ctx, topic, &changed)
	}
}

// rename has the memory know messages by another ID, which nobody sees.
func (f *faulty) rename(mark func() string) {
	f.publish = func(ctx context.Context, topic string, m *broker.Message) error {
		marked := *m
		marked.ID += "#" + mark()
		return f.keep(ctx, topic, &marked)
	}
	f.receive = func(d *broker.Delivery) { d.ID, _, _ = strings.Cut(d.ID, "#") }
}
