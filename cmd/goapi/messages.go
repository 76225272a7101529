package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/textproto"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/goapi-dev/goapi/admin"
	"github.com/goapi-dev/goapi/handler"
)

func publishCommand(w world) *cobra.Command {
	var (
		f       adminFlags
		headers []string
	)
	cmd := &cobra.Command{
		Use:   "publish TOPIC [BODY]",
		Short: "Publish a message through the gateway's broker",
		Long: `publish publishes a message on a topic and prints its ID when the broker has it.
The body is the second argument, or standard input. Its Content-Type is
application/json if it is that, else text/plain or application/octet-stream.
With a header Idempotency-Key, publishing again publishes once.`,
		Example: `  goapi publish orders.created '{"order":7}'
  goapi publish -H 'Content-Type: image/png' pictures < picture.png`,
		Args: fromTo(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			m := new(admin.Message)
			if len(args) == 2 {
				m.Body = []byte(args[1])
			} else {
				b, err := io.ReadAll(w.in)
				if err != nil {
					return fmt.Errorf("standard input: %w", err)
				}
				m.Body = b
			}
			var err error
			if m.Header, err = headerOf(headers, m.Body); err != nil {
				return err
			}
			c, err := f.client()
			if err != nil {
				return err
			}
			id, err := c.Publish(cmd.Context(), args[0], m)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(w.out, printable(id))
			return err
		},
	}
	f.add(cmd, w)
	cmd.Flags().StringArrayVarP(&headers, "header", "H", nil, "header of the message, 'NAME: VALUE' (repeatable)")
	return cmd
}

// headerOf returns the header of a message with a body, of what flags say:
// "NAME: VALUE". Names have no case.
func headerOf(flags []string, body []byte) (map[string]string, error) {
	header := make(map[string]string, len(flags)+1)
	for _, flag := range flags {
		name, value, ok := strings.Cut(flag, ":")
		name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
		if !ok || name == "" {
			return nil, fmt.Errorf("--header %q: want 'NAME: VALUE'", flag)
		}
		if _, twice := header[name]; twice {
			return nil, fmt.Errorf("--header %q: %s is there already; a message has each header once", flag, name)
		}
		if !(handler.BrokerHeader{}).Publishes(name) {
			return nil, fmt.Errorf("--header %q: it is not published, as it is of a request, or is taken for a credential; choose another name", name)
		}
		header[name] = strings.TrimSpace(value)
	}
	if _, given := header["Content-Type"]; !given {
		header["Content-Type"] = typeOf(body)
	}
	return header, nil
}

// typeOf returns the Content-Type of a body that says nothing of itself.
func typeOf(body []byte) string {
	switch {
	case json.Valid(body):
		return "application/json"
	case utf8.Valid(body):
		return "text/plain"
	}
	return "application/octet-stream"
}

func subscribeCommand(w world) *cobra.Command {
	var (
		f    adminFlags
		opts admin.SubscribeOptions
		raw  bool
	)
	cmd := &cobra.Command{
		Use:   "subscribe TOPIC",
		Short: "Print the messages of a topic as they come",
		Long: `subscribe prints each message of a topic through the gateway's broker, as one line
of JSON, until Ctrl-C. A body that is JSON stands as it is, text as a string, and
any other in body_base64.`,
		Example: `  goapi subscribe orders.created --from earliest`,
		Args:    fromTo(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if opts.Max < 0 {
				return fmt.Errorf("--count %d: want a number of messages, or 0 for no end", opts.Max)
			}
			c, err := f.client()
			if err != nil {
				return err
			}
			err = c.Subscribe(cmd.Context(), args[0], &opts, func(m *admin.Message) error { return printMessage(w.out, m, raw) })
			if interrupted(cmd.Context(), err) {
				return nil
			}
			return err
		},
	}
	f.add(cmd, w)
	flags := cmd.Flags()
	flags.StringVar(&opts.From, "from", "", "where to begin: earliest, a time such as 2006-01-02T15:04:05Z, or after the position of a message (default now)")
	flags.StringVar(&opts.Group, "queue", "", "group to share the messages with: each is one member's (default none, all are printed)")
	flags.BoolVar(&raw, "raw", false, "print the bodies alone, as they are")
	flags.IntVarP(&opts.Max, "count", "n", 0, "end after so many messages (default never)")
	return cmd
}

// A printedMessage is a message as a line of JSON.
type printedMessage struct {
	ID         string            `json:"id,omitempty"`
	Topic      string            `json:"topic"`
	Position   string            `json:"position,omitempty"`
	Header     map[string]string `json:"header,omitempty"`
	Body       any               `json:"body,omitempty"`
	BodyBase64 []byte            `json:"body_base64,omitempty"`
}

// printMessage prints a message as one line, or its body alone.
func printMessage(out io.Writer, m *admin.Message, raw bool) error {
	if raw {
		_, err := out.Write(append(bytes.Clone(m.Body), '\n'))
		return err
	}
	p := printedMessage{ID: m.ID, Topic: m.Topic, Position: m.Position, Header: m.Header}
	switch {
	case len(m.Body) == 0:
	case json.Valid(m.Body) && utf8.Valid(m.Body):
		p.Body = json.RawMessage(m.Body)
	case utf8.Valid(m.Body):
		p.Body = string(m.Body)
	default:
		p.BodyBase64 = m.Body
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return enc.Encode(p)
}
