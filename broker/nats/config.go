package nats

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goapi-dev/goapi/broker"
)

// The parameters of URLs that are the broker's own.
const (
	paramStream    = "stream"
	paramPrefix    = "prefix"
	paramJetStream = "jetstream"
	paramReplicas  = "replicas"
	paramMaxAge    = "max_age"
	paramMaxBytes  = "max_bytes"
)

// microSuffix is after the scheme of URLs for messages in go-micro's format.
const microSuffix = "+micro"

// params are the parameters that a URL may have.
func params() []string {
	return []string{paramStream, paramPrefix, paramJetStream, paramReplicas, paramMaxAge, paramMaxBytes}
}

// config is what a URL says of a broker.
type config struct {
	shelf // of all topics that are nobody's own

	own       shelf
	micro     bool // messages are as go-micro has them
	jetstream bool
	replicas  int
	maxAge    time.Duration // 0 for no bound
}

// A shelf is a stream, and the subjects that it holds: the topics, after a
// prefix. Topics that are a gateway's own, whose first word begins with "_", have
// a shelf of their own, so that however much others publish, it is not they that
// have to go.
type shelf struct {
	prefix   string // ends in a dot; "" for none
	stream   string
	maxBytes int64  // 0 for no bound
	stored   []byte // begins the answer of the stream when it has a message
}

// ownPart is the part of max_bytes that the own topics have beside the others,
// and ownName what is behind the names of their shelf.
const (
	ownPart = 4
	ownName = "-own"
)

// arrange sees to the shelves, which have the name of the first one.
func (c *config) arrange() {
	c.own = shelf{prefix: strings.TrimSuffix(c.prefix, ".") + ownName + ".", stream: c.stream + ownName, maxBytes: c.maxBytes / ownPart}
	for _, s := range []*shelf{&c.shelf, &c.own} {
		s.stored = []byte(`{"stream":"` + s.stream + `",`)
	}
}

// shelfOf returns where a topic is.
func (c *config) shelfOf(topic string) *shelf {
	if c.jetstream && topic[0] == '_' {
		return &c.own
	}
	return &c.shelf
}

// subject returns the subject of a topic. Since a topic has no wildcards and no
// empty words, it is that topic's alone.
func (c *config) subject(topic string) string { return c.shelfOf(topic).prefix + topic }

// server returns the URL of the connection, and which parameters of it are the
// broker's own.
func (c *config) server(u *url.URL) (conn *url.URL, own []string) {
	if !c.micro {
		return u, params()
	}
	plain := *u
	plain.Scheme = strings.TrimSuffix(u.Scheme, microSuffix)
	return &plain, nil
}

// parse reads the parameters that are the broker's own. Whether others are
// there is for the connection to say.
func parse(u *url.URL) (config, error) {
	if strings.HasSuffix(u.Scheme, microSuffix) {
		return config{micro: true}, nil
	}
	query := u.Query()
	c := config{shelf: shelf{prefix: "events.", stream: "EVENTS", maxBytes: 1 << 30}, jetstream: true, replicas: 1, maxAge: 7 * 24 * time.Hour}
	for _, p := range []struct {
		name string
		read func(value string) error
	}{
		{paramPrefix, c.readPrefix},
		{paramJetStream, c.readJetStream},
		{paramStream, c.readStream},
		{paramReplicas, c.readReplicas},
		{paramMaxAge, c.readMaxAge},
		{paramMaxBytes, c.readMaxBytes},
	} {
		if !query.Has(p.name) {
			continue
		}
		if err := p.read(query.Get(p.name)); err != nil {
			return config{}, fmt.Errorf("%s %w", p.name, err)
		}
	}
	if c.jetstream {
		if c.prefix == "" {
			return config{}, fmt.Errorf("%s is empty; only %s=false allows that", paramPrefix, paramJetStream)
		}
		c.arrange()
		return c, nil
	}
	for _, name := range []string{paramStream, paramReplicas, paramMaxAge, paramMaxBytes} {
		if query.Has(name) {
			return config{}, fmt.Errorf("%s means nothing with %s=false", name, paramJetStream)
		}
	}
	return c, nil
}

func (c *config) readPrefix(value string) error {
	value = strings.TrimSuffix(value, ".")
	if value == "" {
		c.prefix = ""
		return nil
	}
	if err := broker.CheckTopic(value); err != nil {
		return fmt.Errorf("%q begins no subject: %w", value, err)
	}
	if len(value) > 64 || value[0] == '_' {
		return fmt.Errorf("%q begins with _ or has more than 64 bytes", value)
	}
	c.prefix = value + "."
	return nil
}

func (c *config) readJetStream(value string) error {
	on, err := strconv.ParseBool(value)
	if err != nil {
		return fmt.Errorf("%q is neither true nor false", value)
	}
	c.jetstream = on
	return nil
}

func (c *config) readStream(value string) error {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_'
	}
	if value == "" || len(value) > 128 || slices.ContainsFunc([]rune(value), func(r rune) bool { return !plain(r) }) {
		return fmt.Errorf("%q is not made of letters, digits, - and _", value)
	}
	c.stream = value
	return nil
}

func (c *config) readReplicas(value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > 5 {
		return fmt.Errorf("%q is not a number from 1 to 5", value)
	}
	c.replicas = n
	return nil
}

func (c *config) readMaxAge(value string) error {
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 || d > 0 && d < time.Second {
		return fmt.Errorf("%q is not a duration like 168h, at least 1s, or 0 for no bound", value)
	}
	c.maxAge = d
	return nil
}

func (c *config) readMaxBytes(value string) error {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a number of bytes, or 0 for no bound", value)
	}
	c.maxBytes = n
	return nil
}
