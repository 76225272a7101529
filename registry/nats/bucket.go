package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// markerTTL is how long the bucket remembers that a key was removed: long
// enough for every watcher to hear of it, or to notice that it did not.
const markerTTL = time.Minute

const (
	// codeNoCluster is the server's answer to a bucket with replicas that it cannot
	// have.
	codeNoCluster jetstream.ErrorCode = 10074
	// codeNoStore is its answer when it cannot make the files of a stream.
	codeNoStore jetstream.ErrorCode = 10049

	// createTries and createPause bound how long it is asked again then.
	createTries = 10
	createPause = 50 * time.Millisecond
)

// bucket names a bucket and says how it is made.
type bucket struct {
	name     string
	replicas int
	strict   bool // replicas was asked for: a bucket that has others is wrong
}

// stream returns the name of the stream that is the bucket.
func (b bucket) stream() string { return "KV_" + b.name }

// subject returns the subject of a key, or of many if it ends in a wildcard.
func (b bucket) subject(key string) string { return "$KV." + b.name + "." + key }

// config returns how the bucket is made: as other clients of key-value buckets
// expect it, with a history of one and keys that can expire.
func (b bucket) config() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:                   b.stream(),
		Description:            "services that are announced to goapi",
		Subjects:               []string{b.subject(">")},
		Storage:                jetstream.FileStorage,
		Replicas:               b.replicas,
		MaxMsgsPerSubject:      1,
		MaxMsgs:                -1,
		MaxBytes:               -1,
		MaxMsgSize:             -1,
		MaxConsumers:           -1,
		Discard:                jetstream.DiscardNew,
		Duplicates:             2 * time.Minute,
		AllowDirect:            true,
		AllowRollup:            true,
		DenyDelete:             true,
		AllowMsgTTL:            true,
		SubjectDeleteMarkerTTL: markerTTL,
	}
}

// check returns what keeps a bucket that is there from being used.
func (b bucket) check(c jetstream.StreamConfig) error {
	var wrong []string
	add := func(bad bool, format string, v ...any) {
		if bad {
			wrong = append(wrong, fmt.Sprintf(format, v...))
		}
	}
	add(c.MaxMsgsPerSubject != 1, "its history is %d, want 1", c.MaxMsgsPerSubject)
	add(!c.AllowMsgTTL, "its keys cannot expire")
	add(c.SubjectDeleteMarkerTTL <= 0, "it has no limit marker TTL, want %v", markerTTL)
	add(c.MaxAge != 0, "it drops every record after %v, want no max age", c.MaxAge)
	add(c.Discard != jetstream.DiscardNew && (c.MaxBytes > 0 || c.MaxMsgs > 0),
		"it drops old records when it is full, want it to discard new ones")
	add(c.Mirror != nil, "it is a mirror")
	add(c.Sealed, "it is sealed")
	add(b.strict && c.Replicas != b.replicas, "it has %d replicas, want %d", c.Replicas, b.replicas)
	if wrong == nil {
		return nil
	}
	return &settingsError{bucket: b.name, wrong: strings.Join(wrong, ", ")}
}

// A settingsError says why a bucket cannot be used.
type settingsError struct{ bucket, wrong string }

// Error implements error.
func (e *settingsError) Error() string {
	return fmt.Sprintf("registry: bucket %q of NATS cannot be used: %s; change it, or the %s and %s of the URL",
		e.bucket, e.wrong, paramBucket, paramReplicas)
}

// makeBucket makes the bucket if it is absent, and else checks it. Several may
// do so at once.
func (r *Registry) makeBucket(ctx context.Context) error {
	stream, err := r.js.Stream(ctx, r.bucket.stream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		r.writes.forget()
		stream, err = r.createStream(ctx)
	}
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody was faster
		stream, err = r.js.Stream(ctx, r.bucket.stream())
	}
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == codeNoCluster {
		return &settingsError{r.bucket.name, fmt.Sprintf("a server without a cluster cannot hold %d replicas", r.bucket.replicas)}
	}
	if err != nil {
		return err
	}
	return r.bucket.check(stream.CachedInfo().Config)
}

// createStream makes the stream of the bucket. A server that is still removing the
// files of the last one cannot do so for a moment.
func (r *Registry) createStream(ctx context.Context) (stream jetstream.Stream, err error) {
	for range createTries {
		var api *jetstream.APIError
		stream, err = r.js.CreateStream(ctx, r.bucket.config())
		if !errors.As(err, &api) || api.ErrorCode != codeNoStore {
			break
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(createPause):
		}
	}
	return stream, err
}

// validBucket says whether NATS allows a bucket of that name.
func validBucket(name string) bool {
	for i := range len(name) {
		if c := name[i]; !plain(c) || c == '/' {
			return false
		}
	}
	return name != "" && len(name) <= 128
}
