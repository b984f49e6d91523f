// The answer to the form leads back to the place in the page that was asked for.
document.forms[0].action = `/sign-in${location.hash}`;
