package acme

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// lease is how long a lock outlives a gateway that has died with it.
const lease = 30 * time.Second

// NATSOptions adjust NATS. A nil *NATSOptions means all defaults.
type NATSOptions struct {
	// Bucket is the key-value bucket, which is made if it is absent.
	// Default: goapi-certificates.
	Bucket string
	// Replicas is on how many servers of a cluster the bucket is, if it is made.
	// Default: 1.
	Replicas int
}

func (o *NATSOptions) orDefault() NATSOptions {
	var d NATSOptions
	if o != nil {
		d = *o
	}
	if d.Bucket == "" {
		d.Bucket = "goapi-certificates"
	}
	if d.Replicas <= 0 {
		d.Replicas = 1
	}
	return d
}

// bucket is a Storage in a key-value bucket of NATS.
type bucket struct {
	js   jetstream.JetStream
	kv   jetstream.KeyValue
	name string

	mu    sync.Mutex
	locks map[string]*held
}

var (
	_ Storage             = (*bucket)(nil)
	_ certmagic.TryLocker = (*bucket)(nil)
)

// NATS returns a Storage for all gateways that are connected to a cluster of NATS
// servers. The connection stays the caller's.
func NATS(ctx context.Context, conn *natsgo.Conn, opts *NATSOptions) (Storage, error) {
	o := opts.orDefault()
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("acme: storage in NATS: %w", err)
	}
	// Not by CreateKeyValue: its buckets may answer with what is no longer so.
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name:                   "KV_" + o.Bucket,
		Description:            "certificates of goapi, with their keys",
		Subjects:               []string{"$KV." + o.Bucket + ".>"},
		Replicas:               o.Replicas,
		MaxMsgsPerSubject:      1,
		MaxMsgs:                -1,
		MaxBytes:               -1,
		MaxMsgSize:             -1,
		MaxConsumers:           -1,
		Discard:                jetstream.DiscardNew,
		AllowRollup:            true,
		DenyDelete:             true,
		AllowMsgTTL:            true,
		SubjectDeleteMarkerTTL: time.Minute,
	})
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil, fmt.Errorf("acme: bucket %s of NATS: %w", o.Bucket, err)
	}
	kv, err := js.KeyValue(ctx, o.Bucket)
	if err != nil {
		return nil, fmt.Errorf("acme: bucket %s of NATS: %w", o.Bucket, err)
	}
	status, err := kv.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("acme: bucket %s of NATS: %w", o.Bucket, err)
	}
	if status.LimitMarkerTTL() <= 0 || status.TTL() > 0 {
		return nil, fmt.Errorf("acme: bucket %s of NATS cannot be used: its keys must be able to expire one by one, and not all of them: name another", o.Bucket)
	}
	return &bucket{js: js, kv: kv, name: o.Bucket, locks: make(map[string]*held)}, nil
}

// Store implements [Storage].
func (b *bucket) Store(ctx context.Context, key string, value []byte) error {
	_, err := b.kv.Put(ctx, encode(key), value)
	return about(key, err)
}

// Load implements [Storage].
func (b *bucket) Load(ctx context.Context, key string) ([]byte, error) {
	e, err := b.kv.Get(ctx, encode(key))
	if err != nil {
		return nil, about(key, err)
	}
	return e.Value(), nil
}

// Delete implements [Storage].
func (b *bucket) Delete(ctx context.Context, key string) error {
	below, err := b.List(ctx, key, true)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, k := range append(below, key) {
		if err := b.kv.Purge(ctx, encode(k), jetstream.PurgeTTL(time.Minute)); err != nil {
			return about(k, err)
		}
	}
	return nil
}

// Exists implements [Storage].
func (b *bucket) Exists(ctx context.Context, key string) bool {
	_, err := b.Stat(ctx, key)
	return err == nil
}

// List implements [Storage].
func (b *bucket) List(ctx context.Context, dir string, recursive bool) ([]string, error) {
	filter := ">"
	if dir != "" {
		filter = encode(dir) + ".>"
	}
	found, err := b.kv.ListKeysFiltered(ctx, filter)
	if err != nil {
		return nil, about(dir, err)
	}
	defer func() { _ = found.Stop() }() // it has ended, or ctx has
	var keys []string
	seen := make(map[string]bool)
	for k := range found.Keys() {
		key, ok := decode(k)
		if !ok {
			continue // it is somebody else's
		}
		if !recursive {
			key = child(dir, key)
		}
		if !seen[key] {
			seen[key] = true
			keys = append(keys, key)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, about(dir, err)
	}
	if len(keys) == 0 {
		return nil, about(dir, fs.ErrNotExist)
	}
	return keys, nil
}

// child returns what lies directly in dir and is key or above it.
func child(dir, key string) string {
	below := strings.TrimPrefix(strings.TrimPrefix(key, dir), "/")
	first, _, _ := strings.Cut(below, "/")
	return path.Join(dir, first)
}

// Stat implements [Storage].
func (b *bucket) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	e, err := b.kv.Get(ctx, encode(key))
	if err == nil {
		return certmagic.KeyInfo{Key: key, Modified: e.Created(), Size: int64(len(e.Value())), IsTerminal: true}, nil
	}
	if !errors.Is(err, jetstream.ErrKeyNotFound) {
		return certmagic.KeyInfo{}, about(key, err)
	}
	if _, err := b.List(ctx, key, false); err != nil {
		return certmagic.KeyInfo{}, err
	}
	return certmagic.KeyInfo{Key: key}, nil
}

// about says which key an error is about, and tells one that is absent as Storage
// wants it.
func about(key string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return fmt.Errorf("acme: %s: %w", key, fs.ErrNotExist)
	}
	return fmt.Errorf("acme: %s: %w", key, err)
}

// encode returns the key of NATS for one of a Storage: its parts are elements, in
// which all but letters, digits, hyphens and underscores is "=" and two digits.
func encode(key string) string {
	var b strings.Builder
	for i := range len(key) {
		switch c := key[i]; {
		case c == '/':
			b.WriteByte('.')
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// decode undoes encode.
func decode(key string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(key); i++ {
		switch c := key[i]; c {
		case '.':
			b.WriteByte('/')
		case '=':
			if i+2 >= len(key) {
				return "", false
			}
			n, err := strconv.ParseUint(key[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			b.WriteByte(byte(n))
			i += 2
		default:
			b.WriteByte(c)
		}
	}
	s := b.String()
	return s, encode(s) == key
}
