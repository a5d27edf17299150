//! Looks at every state that a model can come to, breadth first, so that the first thing found wrong is a shortest story.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::hash::Hash;

use foldhash::fast::FixedState;

/// Something with states, and steps between them that anybody may take at any time.
pub trait Model {
    /// All that there is to know.
    type State: Clone + Eq + Hash;
    /// What a step is called.
    type Step: Copy + Debug;

    /// Where it begins.
    fn begin(&self) -> Self::State;
    /// Every step that may be taken, and where it leads.
    fn steps(&self, state: &Self::State, to: &mut Vec<(Self::Step, Self::State)>);
    /// What is wrong, if something is.
    fn wrong(&self, state: &Self::State) -> Option<&'static str>;
    /// Is it what must stay within reach, from wherever one is?
    fn is_goal(&self, _: &Self::State) -> bool {
        true
    }
}

/// A shortest story.
pub struct Story {
    /// How it ends.
    pub why: &'static str,
    steps: Vec<String>,
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} after {} steps:", self.why, self.steps.len())?;
        self.steps.iter().zip(1..).try_for_each(|(step, number)| writeln!(f, "{number:4}  {step}"))
    }
}

/// What was found.
pub struct Explored {
    /// How many states were looked at: all, if nothing is wrong.
    pub states: usize,
    /// The first thing wrong.
    pub wrong: Option<Story>,
    /// A state from which the goal is out of reach; looked for when nothing is wrong.
    pub hopeless: Option<Story>,
}

impl Explored {
    /// Nothing is wrong anywhere.
    #[track_caller]
    pub fn is_safe(&self) {
        println!("{} states", self.states);
        if let Some(story) = &self.wrong {
            panic!("{story}");
        }
    }

    /// And the goal stays within reach.
    #[track_caller]
    pub fn holds(&self) {
        self.is_safe();
        if let Some(story) = &self.hopeless {
            panic!("{story}");
        }
    }

    /// The story of what is wrong, where something must be.
    #[track_caller]
    pub fn story(&self) -> &Story {
        self.wrong.as_ref().unwrap_or_else(|| panic!("nothing is wrong in {} states", self.states))
    }
}

/// How a state was come to first: from which one, by which step.
type Origin<S> = Option<(u32, S)>;

/// Looks at every state.
pub fn explore<M: Model>(model: &M) -> Explored {
    let mut numbers = HashMap::<M::State, u32, FixedState>::default();
    let (mut states, mut origins, mut edges) = (vec![model.begin()], vec![None], Vec::new());
    numbers.insert(model.begin(), 0);
    let (mut at, mut steps) = (0, Vec::new());
    while at < states.len() {
        if let Some(why) = model.wrong(&states[at]) {
            return Explored { states: states.len(), wrong: Some(story(why, &origins, at)), hopeless: None };
        }
        model.steps(&states[at], &mut steps);
        let from = u32::try_from(at).unwrap();
        for (step, next) in steps.drain(..) {
            let fresh = u32::try_from(states.len()).unwrap();
            let number = *numbers.entry(next).or_insert_with_key(|next| {
                states.push(next.clone());
                origins.push(Some((from, step)));
                fresh
            });
            edges.push((number, from));
        }
        at += 1;
    }
    let hopeless = out_of_reach(states.iter().map(|state| model.is_goal(state)).collect(), edges);
    let hopeless = hopeless.map(|at| story("the goal is out of reach", &origins, at));
    Explored { states: states.len(), wrong: None, hopeless }
}

/// The first state from which no goal can be reached, going back from the goals along the edges (to, from).
fn out_of_reach(mut reaches: Vec<bool>, mut edges: Vec<(u32, u32)>) -> Option<usize> {
    edges.sort_unstable();
    let mut front: Vec<u32> = (0..).zip(&reaches).filter(|(_, reaches)| **reaches).map(|(at, _)| at).collect();
    while let Some(to) = front.pop() {
        let begin = edges.partition_point(|edge| edge.0 < to);
        for (_, from) in edges[begin..].iter().take_while(|edge| edge.0 == to) {
            if !std::mem::replace(&mut reaches[*from as usize], true) {
                front.push(*from);
            }
        }
    }
    reaches.iter().position(|reaches| !reaches)
}

fn story<S: Copy + Debug>(why: &'static str, origins: &[Origin<S>], mut at: usize) -> Story {
    let mut steps = Vec::new();
    while let Some((from, step)) = origins[at] {
        steps.push(format!("{step:?}"));
        at = from as usize;
    }
    steps.reverse();
    Story { why, steps }
}
