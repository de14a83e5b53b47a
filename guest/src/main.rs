fn main(){ let _ = libcontainer::container::Container::load(std::path::PathBuf::from("/x")); }
