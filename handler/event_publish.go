package handler

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/broker"
	"github.com/goapi-dev/goapi/internal/mucp"
)

const (
	defaultEventBody    = 1 << 20
	defaultEventTimeout = 30 * time.Second

	// maxKey is the size of the longest Idempotency-Key.
	maxKey = 255
)

// PublishOptions say how the handlers [Event] and [CloudEvents] publish a
// request. The zero value means all defaults.
type PublishOptions struct {
	// Namespace is before each topic that a path names, with a dot between.
	// Default: none.
	Namespace string
	// Topic returns where a request is published, and the name of its event.
	// Default: what the route's endpoint says, or else the path: see [Event].
	Topic func(*http.Request) (topic, name string, err error)
	// Topics lists the topics that may be published on, as [broker.Patterns]
	// has them. Others are 403, however a request names them. Default, if nil:
	// "**".
	Topics []string
	// Header adjusts which of a request's headers are published. Default: all
	// but credentials, and where the request came from.
	Header BrokerHeader
	// Origins are the web pages that may publish, as in [StreamOptions]; those
	// of the requested host itself always may, and no others if the list is empty.
	// Default, if nil: any page.
	Origins []string
	// TrustedProxies are peers whose account of where a request came from is
	// believed. Default: none.
	TrustedProxies []netip.Prefix
	// Caller returns who sent a request: an Idempotency-Key is the caller's own.
	// Default: the identity that was verified, or else what is in Authorization,
	// which nobody else can send, or else the client's address.
	Caller func(*http.Request) string
	// MaxBody bounds a body, in bytes; the route's policy goes before it.
	// Default: 1 MiB.
	MaxBody int64
	// Timeout bounds publishing; the route's policy goes before it. Default:
	// 30 s.
	Timeout time.Duration
	// Bodies is as in [RPCOptions]. Default: as there.
	Bodies *Bodies
}

// A publishing is what handlers that publish requests share.
type publishing struct {
	broker broker.Publisher
	opts   PublishOptions
	pages  origins // none is any
	topics broker.Patterns
	header headerFilter
	origin bool      // where requests came from may be published
	desks  sync.Pool // of *desk
}

// A desk is where a request is read, and its message written. No broker keeps
// what it was given.
type desk struct {
	in      wholeBody
	out     bytes.Buffer
	header  http.Header       // that is published
	message map[string]string // the same, as a message has it
}

// maxDesk bounds what is kept of a desk for the next request, in bytes.
const maxDesk = 64 << 10

// desk returns an empty desk.
func (p *publishing) desk() *desk {
	d, ok := p.desks.Get().(*desk)
	if !ok {
		return &desk{in: wholeBody{room: p.opts.Bodies}, header: make(http.Header), message: make(map[string]string)}
	}
	return d
}

// leave has another use a desk.
func (p *publishing) leave(d *desk) {
	d.in.reuse()
	if d.out.Cap() > maxDesk {
		return // one large message is not a reason to hold on to as much
	}
	d.out.Reset()
	clear(d.header)
	clear(d.message)
	p.desks.Put(d)
}

func newPublishing(p broker.Publisher, opts PublishOptions) *publishing {
	if opts.Topic == nil {
		namespace := opts.Namespace
		opts.Topic = func(r *http.Request) (topic, name string, err error) { return requestTopic(r, namespace) }
	}
	if opts.Topics == nil {
		opts.Topics = []string{"**"}
	}
	if opts.Caller == nil {
		trusted := opts.TrustedProxies
		opts.Caller = func(r *http.Request) string { return defaultCaller(r, trusted) }
	}
	if opts.MaxBody == 0 {
		opts.MaxBody = defaultEventBody
	}
	if opts.Timeout == 0 {
		opts.Timeout = defaultEventTimeout
	}
	opts.Bodies = opts.Bodies.orDefault()
	filter := opts.Header.filter()
	return &publishing{
		broker: p,
		opts:   opts,
		pages:  pagesOf(opts.Origins),
		topics: broker.NewPatterns(opts.Topics...),
		header: filter,
		origin: slices.ContainsFunc(slices.Collect(maps.Keys(filter.allow)), reserved),
	}
}

// pagesOf returns the pages that may publish.
func pagesOf(patterns []string) origins {
	if patterns != nil && len(patterns) == 0 {
		return sameOrigin()
	}
	return parseOrigins(patterns)
}

// topic returns the topic of a request, which may be published, and the name of
// its event.
func (p *publishing) topic(r *http.Request) (topic, name string, err error) {
	if r.Method == http.MethodConnect {
		err := goapi.NewError(http.StatusMethodNotAllowed, "CONNECT is not served", nil)
		err.Header = http.Header{"Connection": {"close"}} // what follows may be meant for the tunnel
		return "", "", err
	}
	if !p.pages.allow(r) {
		return "", "", goapi.NewError(http.StatusForbidden,
			"pages of the origin "+quote(r.Header.Get("Origin"))+" may not publish here", nil)
	}
	if topic, name, err = p.opts.Topic(r); err != nil {
		return "", "", err
	}
	if err := checkTopic(topic); err != nil {
		return "", "", err
	}
	if !p.topics.Match(topic) {
		return "", "", notAllowed("publishing on", topic)
	}
	return topic, name, nil
}

// headers puts the headers of a request that are published on the desk, all of
// them UTF-8.
func (p *publishing) headers(d *desk, r *http.Request) error {
	clear(d.header)
	if err := sentHeader(d.header, r); err != nil {
		return err
	}
	if p.origin {
		setOrigin(d.header, r, p.opts.TrustedProxies)
	}
	for name, values := range d.header {
		if !p.publishes(name) {
			delete(d.header, name)
			continue
		}
		if slices.ContainsFunc(values, notUTF8) {
			return notText("header " + name)
		}
	}
	return nil
}

// publishes says whether one of the headers that a service may see is published.
// Those that are reserved are the gateway's own account of where the request
// came from: whoever may subscribe is not to know it, unless it is asked for.
func (p *publishing) publishes(name string) bool {
	if reserved(name) {
		return name != "Te" && !p.header.deny[name] && p.header.allow[name]
	}
	return p.header.keeps(name)
}

// notText is the error for a part of a request that no text can hold.
func notText(what string) error {
	return goapi.NewError(http.StatusUnsupportedMediaType,
		"the "+what+" is not UTF-8, which an event cannot hold; the handlers cloudevents, in binary mode, and broker take any body", nil)
}

// messageHeader puts the headers of a request into those of a message. What
// would make an event of CloudEvents of it stays behind, and so do names that not
// every protocol has: a subscriber may pass them on to it.
func messageHeader(md map[string]string, header http.Header) {
	for name, values := range header {
		if len(values) == 0 || mucp.Reserved(name) || strings.IndexFunc(name, exotic) >= 0 || strings.HasPrefix(name, "Ce-") {
			continue
		}
		separator := ", "
		if name == "Cookie" {
			separator = "; "
		}
		md[name] = strings.Join(values, separator)
	}
}

// exotic says that a character in a header's name is not one that every protocol
// has.
func exotic(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.'
}

// maxBody returns the bound of a request's body.
func (p *publishing) maxBody(r *http.Request) int64 {
	if rt := goapi.RouteFrom(r.Context()); rt != nil && rt.Policy != nil && rt.Policy.MaxBody != 0 {
		return rt.Policy.MaxBody
	}
	return p.opts.MaxBody
}

// deadline returns the context of publishing what a request is.
func (p *publishing) deadline(r *http.Request) *lateContext {
	timeout := p.opts.Timeout
	if rt := goapi.RouteFrom(r.Context()); rt != nil && rt.Policy != nil && rt.Policy.Timeout != 0 {
		timeout = rt.Policy.Timeout
	}
	return within(r.Context(), timeout)
}

// check returns an error for a message that the broker is bound to refuse.
func (p *publishing) check(m *broker.Message) error {
	if err := m.Check(); err != nil {
		return refused(err)
	}
	b, ok := p.broker.(broker.Broker) // which knows its limits
	if !ok {
		return nil
	}
	if limit := b.Capabilities().MaxMessage; limit > 0 && m.Size() > limit {
		return goapi.NewError(http.StatusRequestEntityTooLarge,
			fmt.Sprintf("the message is larger than the broker takes: %d bytes with its header, of %d", m.Size(), limit), nil)
	}
	return nil
}

// publish publishes a message. An error is one that answers a request.
func (p *publishing) publish(ctx context.Context, topic string, m *broker.Message) error {
	err := p.broker.Publish(ctx, topic, m)
	if errors.Is(err, context.DeadlineExceeded) {
		return goapi.NewError(http.StatusGatewayTimeout,
			"the broker did not answer in time; the message may have been published: send it again with the same Idempotency-Key, or id", err)
	}
	return brokerError(err)
}

// keyedID returns the message ID of a request: that of its Idempotency-Key, for
// this topic and caller, or a new one.
func (p *publishing) keyedID(r *http.Request, topic string) (string, error) {
	keys := r.Header["Idempotency-Key"]
	if len(keys) == 0 {
		return rand.Text(), nil
	}
	if len(keys) > 1 || keys[0] == "" || len(keys[0]) > maxKey || !isPrintableASCII(keys[0]) {
		return "", badRequest(fmt.Sprintf("the Idempotency-Key is not one of 1 to %d printable ASCII characters", maxKey))
	}
	return hashID("key", topic, p.opts.Caller(r), keys[0]), nil
}

func isPrintableASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// hashID returns a message ID for a list of texts that no other list has.
func hashID(texts ...string) string {
	var room [256]byte
	all := room[:0]
	for _, text := range texts {
		all = append(binary.BigEndian.AppendUint64(all, uint64(len(text))), text...)
	}
	sum := sha256.Sum256(all)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// defaultCaller returns what tells the sender of a request from others. Credentials
// that nobody has verified may be wrong, but are the sender's alone; those that were
// are not there any more.
func defaultCaller(r *http.Request, trusted []netip.Prefix) string {
	if ex := goapi.ExchangeFrom(r.Context()); ex != nil && ex.Identity != nil && ex.Identity.Subject != "" {
		issuer, _ := ex.Identity.Claims["iss"].(string) // whose subject it is, of a token
		return hashID("identity", ex.Identity.Method, issuer, ex.Identity.Subject)
	}
	if credentials := r.Header.Get("Authorization"); credentials != "" {
		return "credentials " + credentials
	}
	return "address " + clientAddress(r, trusted)
}

// clientAddress returns the address that a request came from: of its peer, or
// of the last that trusted peers do not speak for, in their words if that is none.
func clientAddress(r *http.Request, trusted []netip.Prefix) string {
	address := peerIP(r.RemoteAddr)
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for i := len(hops) - 1; i >= 0 && isTrusted(address, trusted); i-- {
		hop := strings.TrimSpace(hops[i])
		if hop == "" {
			break
		}
		if with, err := netip.ParseAddrPort(hop); err == nil {
			hop = with.Addr().String()
		}
		address = hop // where it is no address, nobody trusts it
	}
	return address
}

// writeAccepted answers that what v names has been published.
func writeAccepted(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("handler: encode %T: %w", v, err)
	}
	writeBody(w, r, http.StatusAccepted, body)
	return nil
}

// writeAcceptedID answers that a message has been published under an ID.
func writeAcceptedID(w http.ResponseWriter, r *http.Request, id string) {
	body := append(make([]byte, 0, len(`{"id":""}`)+len(id)+1), `{"id":`...)
	writeBody(w, r, http.StatusAccepted, append(appendText(body, id), '}'))
}

// writeBody answers with a line of JSON.
func writeBody(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	h := w.Header()
	values := [...]string{"application/json", strconv.Itoa(len(body) + 1), "no-store"}
	h["Content-Type"], h["Content-Length"], h["Cache-Control"] = values[:1:1], values[1:2:2], values[2:]
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(append(body, '\n')) //nolint:gosec // JSON is no page; a client that is gone is nobody to tell
	}
}
