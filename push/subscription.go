package push

// A key names a subscription.
type key struct{ service, topic string }

type subscription struct{}
