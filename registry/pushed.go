package registry

import (
	"cmp"
	"slices"
)

// IsPushed says whether an endpoint of a service asks for the messages of its topic
// to be pushed to it, of any node: see [IsPushedTo].
func IsPushed(s *Service, e *Endpoint) bool {
	return isSubscriber(e) && slices.ContainsFunc(s.Nodes, func(n *Node) bool { return IsPushedTo(n, e) })
}

// IsPushedTo says whether an endpoint of a node asks for the messages of its topic
// to be pushed to it: it is a subscriber, with push=true. A node may say so for all
// of its subscribers, since those of go-micro can announce nothing more than their
// topic; what an endpoint says goes before.
func IsPushedTo(n *Node, e *Endpoint) bool {
	return n != nil && isSubscriber(e) && cmp.Or(e.Metadata[keyPush], n.Metadata[keyPush]) == "true"
}

func isSubscriber(e *Endpoint) bool { return e != nil && e.Metadata[keySubscriber] == "true" }
