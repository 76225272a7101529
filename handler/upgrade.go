package handler

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/goapi-dev/goapi"
	"github.com/goapi-dev/goapi/upstream"
)

// maxProtocols is how many protocols a request may name in Upgrade.
const maxProtocols = 16

// askedProtocols returns the protocols that a request asks to upgrade to; none
// if it does not, or not in a way that is served.
func askedProtocols(r *http.Request) ([]string, error) {
	if r.ProtoMajor != 1 || r.ProtoMinor < 1 || !httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade") {
		return nil, nil
	}
	all, ok := listProtocols(r.Header["Upgrade"])
	if !ok {
		return nil, badRequest("the Upgrade header is malformed")
	}
	return slices.DeleteFunc(all, passesBy), nil
}

// listProtocols returns the elements of an Upgrade header, each a name, or a
// name and a version.
func listProtocols(header []string) (protocols []string, ok bool) {
	for _, list := range header {
		for p := range strings.SplitSeq(list, ",") {
			p = strings.Trim(p, " \t")
			name, version, versioned := strings.Cut(p, "/")
			switch {
			case p == "":
				continue
			case !httpguts.ValidHeaderFieldName(name), versioned && !httpguts.ValidHeaderFieldName(version), // both are tokens
				len(protocols) == maxProtocols:
				return nil, false
			}
			protocols = append(protocols, p)
		}
	}
	return protocols, true
}

// passesBy says of a protocol that what it carries is requests, which would
// reach the service without the gateway having seen them; or TLS, in which
// anything may be.
func passesBy(protocol string) bool {
	name, _, _ := strings.Cut(strings.ToLower(protocol), "/")
	switch name {
	case "http", "h2", "h2c", "h3", "shttp", "tls":
		return true
	}
	return false
}

// askUpgrade makes f a request for an upgrade to protocols.
func (f *forwarding) askUpgrade(protocols []string) {
	f.asked = protocols
	f.header["Connection"] = []string{"Upgrade"}
	f.header["Upgrade"] = []string{strings.Join(protocols, ", ")}
	f.trace.GotConn = func(info httptrace.GotConnInfo) {
		f.node = info.Conn
		f.trip.GotConn(info)
	}
}

// upgrade passes on that the service switches to another protocol, and carries
// that protocol.
func (f *forwarding) upgrade(ctx context.Context, try *upstream.Try, resp *http.Response) error {
	if why := f.notAsked(resp); why != "" {
		return f.badAnswer(why)
	}
	if err := f.answerHeader(ctx, try, resp); err != nil {
		return err
	}
	h := f.w.Header()
	h["Connection"], h["Upgrade"] = []string{"Upgrade"}, resp.Header["Upgrade"]
	delete(h, "Content-Length") // what follows has no length, whatever the service says
	first := f.readyBytes(resp.Body)
	f.w.WriteHeader(http.StatusSwitchingProtocols)
	client, rw, err := f.rc.Hijack()
	if err != nil {
		return goapi.NewError(http.StatusInternalServerError, "the client's connection cannot be upgraded", err)
	}
	pool := &f.upgrades.buffers
	t := newTunnel(newEnd(client, buffered(rw.Reader), pool), newEnd(f.node, first, pool), f.idle)
	// What net/http holds of a request is more than a quiet connection needs,
	// and it does not use this any more.
	*rw.Reader, *rw.Writer = bufio.Reader{}, bufio.Writer{}
	f.header = nil
	t.run(f.r.Context())
	return nil
}

// notAsked returns what is wrong with the head of a 101, or nothing.
func (f *forwarding) notAsked(resp *http.Response) string {
	if resp.StatusCode < http.StatusContinue {
		return "its status is " + resp.Status
	}
	if f.asked == nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return "it switched to a protocol that nobody asked for"
	}
	protocols, ok := listProtocols(resp.Header["Upgrade"])
	if !ok || len(protocols) == 0 || !httpguts.HeaderValuesContainsToken(resp.Header["Connection"], "upgrade") {
		return "it switched to another protocol without saying to which"
	}
	for _, p := range protocols {
		if !slices.ContainsFunc(f.asked, func(asked string) bool { return strings.EqualFold(p, asked) }) {
			return "it switched to a protocol that the client did not ask for"
		}
	}
	return ""
}

// readyBytes returns what the transport has read behind the head of a 101: from
// then on, the connection is read directly, and without deadlines.
func (f *forwarding) readyBytes(body io.Reader) []byte {
	beneath := f.node
	if t, ok := beneath.(*tls.Conn); ok {
		beneath = t.NetConn()
	}
	if c, ok := beneath.(*conn); ok {
		c.disarm()
	}
	_ = f.node.SetReadDeadline(time.Unix(1, 0)) // nothing is waited for
	buf := f.buffers.get()
	defer f.buffers.put(buf)
	var first []byte
	for {
		n, err := body.Read(buf[:])
		first = append(first, buf[:n]...)
		if err != nil { // the deadline's, or one that is met again
			_ = f.node.SetReadDeadline(time.Time{})
			return first
		}
	}
}

// buffered returns what a reader holds.
func buffered(r *bufio.Reader) []byte {
	b, _ := r.Peek(r.Buffered()) // of what is there: cannot fail
	return slices.Clone(b)
}
