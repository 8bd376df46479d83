package lab

import "time"

// Event is one thing that a walk tells of its work: it starts, it notes, or it ends.
type Event struct {
	Time     time.Time
	Phase    Phase
	Verb     string // "build", "verify", "create", "complete", "renew", "wait", "arm", "prove" or "remove"; "" on what is about no work
	Resource string // "network/control"; "" where it is about the whole lab
	Note     string // what is waited for, or what is to be known
	Err      error  // why it failed
}

// Phase is where in the work an event stands.
type Phase string

// The phases of a piece of work.
const (
	Starts Phase = "starts"
	Notes  Phase = "notes"
	Ends   Phase = "ends"
	Warns  Phase = "warns" // something the user should know, once
	Fails  Phase = "fails" // the whole has failed
)

// Tell receives events, from several goroutines at once.
type Tell func(Event)

// work tells the beginning and the end of a piece of work, and passes its error on.
func (tell Tell) work(verb, resource string, do func() error) error {
	tell(Event{Time: time.Now(), Phase: Starts, Verb: verb, Resource: resource})
	err := do()
	tell(Event{Time: time.Now(), Phase: Ends, Verb: verb, Resource: resource, Err: err})
	return err
}

func (tell Tell) note(verb, resource, note string) {
	tell(Event{Time: time.Now(), Phase: Notes, Verb: verb, Resource: resource, Note: note})
}

// Note tells what is to be known of the whole work.
func (tell Tell) Note(note string) {
	tell(Event{Time: time.Now(), Phase: Notes, Note: note})
}

func (tell Tell) warn(note string) {
	tell(Event{Time: time.Now(), Phase: Warns, Note: note})
}
