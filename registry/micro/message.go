package micro

import (
	"encoding/json"
	"fmt"

	natsgo "github.com/nats-io/nats.go"

	"github.com/goapi-dev/goapi/registry"
)

// The subjects of go-micro.
const (
	subjectQuery = "micro.nats.query"
	subjectWatch = "micro.nats.watch"
)

// What go-micro asks and tells.
const (
	actionGet    = "get"
	actionList   = "list"
	actionCreate = "create"
	actionUpdate = "update"
	actionDelete = "delete"
)

const (
	// maxMessage bounds what is read, in bytes.
	maxMessage = 8 << 20
	// headerRoom is what a header takes of the largest message.
	headerRoom = 256
	// headerFrom says which registry tells of a change. Go-micro does not look
	// at it, and servers take it from messages for those who know no headers.
	headerFrom = "Goapi-Registry"
)

// A message is a question, or tells of a change. An answer is a service alone.
type message struct {
	Service *registry.Service
	Action  string
}

// A heard is a message of somebody else, whose service is still to be read.
type heard struct {
	Service json.RawMessage
	Action  string
}

// hear reads a message.
func hear(data []byte) (heard, error) {
	var h heard
	if err := checkSize(data); err != nil {
		return h, err
	}
	if err := json.Unmarshal(data, &h); err != nil {
		return heard{}, err
	}
	return h, nil
}

func checkSize(data []byte) error {
	if len(data) > maxMessage {
		return fmt.Errorf("it has %d bytes, more than %d", len(data), maxMessage)
	}
	return nil
}

// encode returns what form makes of s in JSON, in as many messages as it takes:
// each has some of the nodes. Who reads them puts them together.
func encode(s *registry.Service, limit int64, form func(*registry.Service) any) ([][]byte, error) {
	data, err := json.Marshal(form(s))
	if err != nil {
		return nil, fmt.Errorf("registry: service %q: %w", s.Name, err)
	}
	if int64(len(data)) <= limit {
		return [][]byte{data}, nil
	}
	if len(s.Nodes) < 2 {
		return nil, fmt.Errorf("%w: service %q: %d bytes; the NATS server takes %d", registry.ErrTooLarge, s.Name, len(data), limit)
	}
	first, second := *s, *s
	half := len(s.Nodes) / 2
	first.Nodes, second.Nodes = s.Nodes[:half], s.Nodes[half:]
	messages, err := encode(&first, limit, form)
	if err != nil {
		return nil, err
	}
	rest, err := encode(&second, limit, form)
	return append(messages, rest...), err
}

// alone is the form of an answer.
func alone(s *registry.Service) any { return s }

// created and deleted are the forms of changes.
func created(s *registry.Service) any { return message{s, actionCreate} }

func deleted(s *registry.Service) any { return message{s, actionDelete} }

// limit returns how large a message may be.
func (r *Registry) limit() int64 { return r.conn.MaxPayload() - headerRoom }

// tell publishes changes.
func (r *Registry) tell(changes [][]byte) error {
	for _, data := range changes {
		m := natsgo.NewMsg(subjectWatch)
		m.Data = data
		if r.conn.HeadersSupported() {
			m.Header.Set(headerFrom, r.id)
		}
		if err := r.conn.PublishMsg(m); err != nil {
			return err
		}
	}
	return nil
}
